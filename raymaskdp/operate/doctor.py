"""`raymaskdp doctor`: check that this machine has everything the commands need, and how to fix what is
missing.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from raymaskdp.errors import UserError
from raymaskdp.files import cache_dir

DRIVER_OF_CUDA = {11: 450, 12: 525, 13: 580}
"""The oldest driver for software built for a version of CUDA, by their first numbers."""

Verdict = Literal["ok", "note", "unsure", "wrong"]

SPACE_GIB = 10
"""Free disk below which long runs may fail; a minute of 1080p needs about 0.1 GiB."""

SHARED_MEMORY_GIB = 1
"""Ray's object store uses /dev/shm; with less memory it falls back to the disk, or cannot start."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check.

    Attributes:
      name: the subject.
      verdict: "ok", "note" (works, but slower or with less), "unsure" (cannot be determined here) or "wrong"
        (some commands cannot work).
      found: the result, in a few words.
      fix: the remedy, in one line; "" if none is needed.
    """

    name: str
    verdict: Verdict
    found: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class DoctorResult:
    """All checks; `healthy` unless one of them is wrong."""

    healthy: bool
    checks: tuple[Check, ...]

    def __str__(self) -> str:
        width = max(len(check.name) for check in self.checks)
        lines = []
        for check in self.checks:
            lines.append(f"{check.verdict:>6}  {check.name:<{width}}  {check.found}")
            if check.fix:
                lines.append(f"{'':>6}  {'':<{width}}  → {check.fix}")
        ready = "Ready."
        if any(check.verdict == "unsure" for check in self.checks):
            ready = "Ready as far as can be known here: see the lines marked unsure."
        lines.append(ready if self.healthy else "Not ready: see the lines marked wrong.")
        return "\n".join(lines)


def doctor() -> DoctorResult:
    """Check this machine. Nothing is installed, downloaded or changed."""
    found = tuple(look() for look in (*LOOKS, *_disks()))
    return DoctorResult(healthy=all(check.verdict != "wrong" for check in found), checks=found)


def _python() -> Check:
    text = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return Check(name="Python", verdict="ok", found=text)


def _packages() -> Check:
    """Installed versions compared with the package's requirements."""
    from packaging.requirements import Requirement

    wrong = []
    for line in requires("raymaskdp") or []:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            held = version(wanted.name)
        except PackageNotFoundError:
            wrong.append(f"{wanted.name} is missing")
            continue
        if not wanted.specifier.contains(held, prereleases=True):
            wrong.append(f"{wanted.name} {held} is not {wanted.specifier}")
    if wrong:
        return Check(name="packages", verdict="wrong", found="; ".join(wrong), fix="make setup")
    text = f"raymaskdp {version('raymaskdp')}, ray {version('ray')}, torch {version('torch')}"
    return Check(name="packages", verdict="ok", found=text)


def _opengl() -> Check:
    from raymaskdp.bodies.render import Renderer
    from raymaskdp.bodies.settings.render import RenderConfig

    renderer = Renderer(RenderConfig())
    try:
        renderer.start()
    except UserError as error:
        return Check(name="OpenGL (EGL)", verdict="wrong", found="does not start", fix=str(error))
    try:
        from OpenGL import GL

        driver = GL.glGetString(GL.GL_RENDERER).decode(errors="replace")
    finally:
        renderer.close()
    software = "llvmpipe" in driver or "softpipe" in driver
    fix = "draws on the CPU; with a GPU, install its EGL driver" if software and _has_gpu() else ""
    return Check(name="OpenGL (EGL)", verdict="note" if fix else "ok", found=driver, fix=fix)


def _gpu() -> Check:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return Check(name="GPU", verdict="ok", found=", ".join(names))
    if _has_gpu():
        said = older_driver(torch.version.cuda, _driver())
        return Check(
            name="GPU",
            verdict="note",
            found=f"torch {torch.__version__} does not see it{said}",
            fix="make setup TORCH_INDEX=https://download.pytorch.org/whl/cu126 (in a fresh environment)",
        )
    return Check(name="GPU", verdict="ok", found="none; everything runs on the CPU")


def _codecs() -> Check:
    import av

    wanted = ("libx264", "libx264rgb")
    missing = [name for name in wanted if name not in av.codecs_available]
    if missing:
        return Check(
            name="video codecs",
            verdict="wrong",
            found=f"no {' and no '.join(missing)}",
            fix="pip install --force-reinstall av (its wheels bring FFmpeg with x264)",
        )
    return Check(name="video codecs", verdict="ok", found=f"FFmpeg through av {version('av')}, x264")


def _models() -> Check:
    from raymaskdp.anonymize.people.networks.pose_model import cached_pose_models
    from raymaskdp.bodies.build import body_path

    files = {
        "the pose networks": cached_pose_models().files,
        "the body": (body_path(),),
    }
    missing = [name for name, paths in files.items() if not all(path.is_file() for path in paths)]
    if missing:
        return Check(
            name="model files",
            verdict="wrong",
            found=f"{' and '.join(missing)} are not in {cache_dir()}",
            fix="raymaskdp models pull",
        )
    return Check(name="model files", verdict="ok", found=str(cache_dir()))


def _shared_memory() -> Check:
    path = Path("/dev/shm")
    if not path.is_dir():
        return Check(name="shared memory", verdict="ok", found="not used on this system")
    free = shutil.disk_usage(path).free / 2**30
    low = free < SHARED_MEMORY_GIB
    fix = "in a container: --shm-size=4g, or an emptyDir of medium Memory at /dev/shm" if low else ""
    return Check(name="shared memory", verdict="note" if low else "ok", found=f"{free:.1f} GiB free", fix=fix)


def _disks() -> list[Callable[[], Check]]:
    """One check for every file system with a default output folder."""
    places = {"cache": cache_dir(), "temporary files": Path(os.environ.get("TMPDIR", "/tmp")), "here": Path()}
    return [lambda name=name, path=path: _disk(name, path) for name, path in places.items()]  # type: ignore[misc]


def _disk(name: str, path: Path) -> Check:
    existing = path.resolve()
    while not existing.exists():
        existing = existing.parent
    if not os.access(existing, os.W_OK):
        return Check(
            name=f"disk: {name}",
            verdict="wrong",
            found=f"cannot write to {existing}",
            fix="change its owner, or set RAYMASKDP_CACHE, TMPDIR or the working folder",
        )
    free = shutil.disk_usage(existing).free / 2**30
    low = free < SPACE_GIB
    return Check(
        name=f"disk: {name}",
        verdict="note" if low else "ok",
        found=f"{free:.0f} GiB free at {existing}",
        fix="free some space, or use another disk" if low else "",
    )


def older_driver(cuda: str | None, driver: str) -> str:
    """Why torch for a version of CUDA cannot work with a driver, as the end of a sentence; "" if it can."""
    wanted = DRIVER_OF_CUDA.get(int((cuda or "0").split(".")[0]), 0)
    if driver and int(driver.split(".")[0]) < wanted:
        return (
            f": it is built for CUDA {cuda}, which needs a driver of {wanted} or later, and this is {driver}"
        )
    return ""


def _driver(told: Path = Path("/proc/driver/nvidia/version")) -> str:
    """The version of NVIDIA's driver, "" if unknown."""
    with contextlib.suppress(OSError):
        found = re.search(r"Kernel Module\s.*?(\d{3}\.[\d.]+)\s", told.read_text(encoding="utf-8"))
        return found[1] if found else ""
    return ""


def _has_gpu() -> bool:
    return Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None


LOOKS: tuple[Callable[[], Check], ...] = (
    _python,
    _packages,
    _opengl,
    _gpu,
    _codecs,
    _models,
    _shared_memory,
)
