"""`raymaskdp status`: the progress of the runs below a folder, read from their files."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from raymaskdp import config, places
from raymaskdp.anonymize.output import manifest, progress
from raymaskdp.datasets.tables import read_parquet
from raymaskdp.errors import Damaged, UserError, readable
from raymaskdp.files import read_json
from raymaskdp.places import Place
from raymaskdp.privacy import PrivacyPlan
from raymaskdp.privacy.ledger import read_ledger
from raymaskdp.sweep import config as sweeps
from raymaskdp.train.run.curve import read_curve, spent_at_most
from raymaskdp.train.run.result import read_result

Kind = Literal["anonymize", "train", "sweep"]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of one run.

    Attributes:
      folder: its output folder.
      kind: the command that writes it.
      done, total: videos, steps or trials; `total` is None if unknown.
      state: finished, running (its files changed recently, or are locked) or stopped.
      detail: further information, in a few words.
    """

    folder: str
    kind: Kind
    done: int
    total: int | None
    state: Literal["finished", "running", "stopped"]
    detail: str

    def __str__(self) -> str:
        of = "" if self.total is None else f" of {self.total}"
        unit = {"anonymize": "videos", "train": "steps", "sweep": "trials"}[self.kind]
        return f"{self.state:>8}  {self.folder}: {self.kind}, {self.done}{of} {unit}; {self.detail}"


@dataclass(frozen=True, kw_only=True)
class StatusResult:
    """All runs below a folder; `damaged` names unreadable files, a sentence each."""

    runs: tuple[Progress, ...]
    damaged: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join([*map(str, self.runs), *(f" damaged  {text}" for text in self.damaged)])


STILL_SECONDS = 120
"""A training run whose curve has not grown for this long is considered stopped."""


def status(folder: Place) -> StatusResult:
    """The progress of every run below `folder`. Reads small files only; does not disturb the runs.

    A folder on an object store is an output of `anonymize`. Raises `UserError` if there are no outputs of
    ours.
    """
    if places.is_url(folder):
        return StatusResult(runs=(_stored(str(folder)),))
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"The folder {folder} does not exist.")
    damaged: list[str] = []
    found = readable(_anonymized, _anonymize_folders(root, damaged), damaged)
    sweep_folders = sorted(path.parent for path in places.find_below(root, "sweep.json"))
    found += readable(_swept, sweep_folders, damaged)
    runs = sorted(path.parent for path in places.find_below(root, "plan.json"))
    alone = [path for path in runs if not any(path.is_relative_to(sweep) for sweep in sweep_folders)]
    found += readable(_trained, alone, damaged)
    if not found:
        raise UserError(
            damaged[0] if damaged else f"The folder {folder} has no outputs of anonymize, train or sweep."
        )
    return StatusResult(runs=tuple(found), damaged=tuple(damaged))


def _anonymize_folders(root: Path, damaged: list[str]) -> list[Path]:
    tables = readable(_with_outcomes, places.find_below(root, manifest.MANIFEST), damaged)
    decided = {path.parent for path in tables if path is not None}
    return sorted(decided | progress.folders_below(root))


def _with_outcomes(path: Path) -> Path | None:
    """A manifest that `anonymize` wrote; None for another. Raises `Damaged` for an unreadable one."""
    return path if "status" in read_parquet(path).columns else None


def _anonymized(folder: Path) -> Progress:
    rows = manifest.read_manifest(folder)
    running, total = progress.run_state(folder)
    began = progress.started_at(folder)
    if running:
        return _decided(str(folder), rows, total, "running", f"started {_clock(began)}")
    if began is None:
        return _decided(str(folder), rows, None, "finished")
    table = folder / manifest.MANIFEST
    last = max(progress.last_activity(folder), table.stat().st_mtime if table.exists() else 0)
    said = f"started {_clock(began)}, no activity since {_clock(last)}; the same command resumes it"
    return _decided(str(folder), rows, progress.read(folder), "stopped", said)


def _clock(moment: float | None) -> str:
    """A time, by the clock of this machine."""
    return "just now" if moment is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _stored(url: str) -> Progress:
    """The progress of a run on a store. There are no locks: a recent heartbeat means that it runs."""
    rows = manifest.read_manifest(url)
    videos = progress.read(url)
    if not rows and videos is None:
        raise UserError(f"There is no {manifest.MANIFEST} of anonymize, with a video in it, at {url}.")
    if videos is None:
        return _decided(url, rows, None, "finished")
    return _decided(url, rows, videos, "running" if progress.is_running(url) else "stopped")


def _decided(
    folder: str,
    by_id: Mapping[str, manifest.Row],
    total: int | None,
    state: Literal["finished", "running", "stopped"],
    when: str = "",
) -> Progress:
    rows = by_id.values()
    counts = Counter(row.status for row in rows)
    frames = sum(row.num_frames for row in rows if row.status == "done")
    parts = [f"{counts[name]} {name}" for name in ("done", "quarantined", "failed")]
    decided = f"{', '.join(parts)}, {frames} frames written" if rows else "nothing decided yet"
    return Progress(
        folder=folder,
        kind="anonymize",
        done=len(rows),
        total=total,
        state=state,
        detail="; ".join([decided, when] if when else [decided]),
    )


def _trained(folder: Path) -> Progress:
    plan = config.read_back(PrivacyPlan, folder / "plan.json")
    if (folder / "result.json").exists():
        done = read_result(folder).updates
    else:
        curve = read_curve(folder / "curve.jsonl")
        done = curve[-1].step if curve else 0
    return Progress(
        folder=str(folder),
        kind="train",
        done=done,
        total=plan.steps,
        state=_state(folder / "result.json", folder / "curve.jsonl", folder / "plan.json"),
        detail=f"{plan.mechanism}, {_spent(folder, plan)}",
    )


def _spent(folder: Path, plan: PrivacyPlan) -> str:
    """The privacy cost of a run, from its ledger, because the curve may lack lines."""
    if plan.mechanism == "sgd":
        return "not private"
    if not (folder / "ledger.jsonl").exists():
        begun = (folder / "curve.jsonl").exists() or (folder / "result.json").exists()
        return "its spent ε is unknown, because its ledger is missing" if begun else "nothing spent"
    try:
        steps = read_ledger(folder / "ledger.jsonl").steps_spent
    except Damaged as error:
        return f"its spent ε is unknown: {error}"
    if not steps:
        return "nothing spent"
    epsilon = spent_at_most(plan, steps)
    return "not private" if epsilon is None else f"ε = {epsilon:.3g} spent at δ = {plan.delta:g}"


def _swept(folder: Path) -> Progress:
    finished = read_json(folder / "sweep.json").get("result") is not None
    try:
        total = _planned(config.load(sweeps.SweepConfig, folder / "sweep.yaml"))
    except UserError as error:
        raise Damaged(str(error)) from error
    results = places.find_below(folder / "runs", "result.json")
    curves = places.find_below(folder / "runs", "curve.jsonl")
    latest = [*curves, folder / "sweep.json"]
    return Progress(
        folder=str(folder),
        kind="sweep",
        done=len(results),
        total=total,
        state="finished" if finished else _state(folder / "-", *latest),
        detail=f"{total - len(results)} failed"
        if finished and total is not None
        else f"{len(curves)} started",
    )


def _planned(sweep: sweeps.SweepConfig) -> int | None:
    """Number of trials of the grids and of the search; None if it is random and therefore private."""
    if sweep.pays and sweep.search is not None:
        return None
    learned = sweep.search.trials if sweep.search is not None and sweep.search.method == "optuna" else 0
    return len(sweeps.trials(sweep)) + learned


def _state(result: Path, *changing: Path) -> Literal["finished", "running", "stopped"]:
    if result.is_file():
        return "finished"
    changed = max(path.stat().st_mtime for path in changing if path.is_file())
    return "running" if time.time() - changed < STILL_SECONDS else "stopped"
