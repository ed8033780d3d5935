"""The part of the report about anonymized videos: outcomes, strips, measurements."""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from raymaskdp import places
from raymaskdp.anonymize.output import manifest
from raymaskdp.datasets.source_lookup import original
from raymaskdp.datasets.tables import read_parquet
from raymaskdp.errors import UserError, readable
from raymaskdp.report import costs
from raymaskdp.report.ladder_counts import RUNGS, Rungs, below_avatars, rungs, worst_frames
from raymaskdp.report.pictures import filmstrips
from raymaskdp.report.pictures.filmstrips import frame_indices
from raymaskdp.report.pictures.video_players import PlayerFiles

MAX_STRIPS, WORST, STRIP_FRAMES = 6, 4, 6

BELOW_AVATARS = "below_avatars"
"""The measurement of the share of person-frames without an avatar."""


@dataclass(frozen=True, kw_only=True)
class Strip:
    """One video as images and players: `src` values; those of the source are None unless requested."""

    video_id: str
    label: str | None
    anonymized: str
    source: str | None
    anonymized_player: str
    source_player: str | None


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One measurement over all videos, formatted; `worst` is the mean of its worst tenth."""

    name: str
    mean: str
    worst: str
    videos: int


@dataclass(frozen=True, kw_only=True)
class VideoRow:
    """One video of the outcome table."""

    video_id: str
    status: str
    reason: str
    label: str
    people: str
    rungs: str
    frames: str
    seconds: str


@dataclass(frozen=True, kw_only=True)
class Collection:
    """One folder that `anonymize` wrote.

    Attributes:
      strips: some videos of all labels; worst: those with the worst measurements.
      surviving: written videos with surviving masked source pixels; must be 0.
      rungs: the rungs of all people; None without people.
      costs: the costs; None if unknown.
    """

    name: str
    sentence: str
    rows: tuple[VideoRow, ...]
    strips: tuple[Strip, ...]
    worst: tuple[Strip, ...]
    metrics: tuple[Metric, ...]
    surviving: int
    rungs: Rungs | None
    costs: costs.Costs | None

    @property
    def compact(self) -> list[list[str]]:
        """The rows in the format of the page's script: lists, a third of the size."""
        return [list(astuple(row)) for row in self.rows]

    def count(self, status: str) -> int:
        """Videos with that outcome."""
        return sum(row.status == status for row in self.rows)


def find(folder: Path, damaged: list[str]) -> list[Path]:
    """Manifests that `anonymize` wrote below `folder`; other manifests have no outcomes.

    For unreadable ones a sentence is added to `damaged`.
    """
    return [
        path
        for path in readable(_with_outcomes, places.find_below(folder, manifest.MANIFEST), damaged)
        if path
    ]


def _with_outcomes(path: Path) -> Path | None:
    return path if "status" in read_parquet(path).columns else None


def read(manifest_path: Path, *, root: Path, show_sources: bool, player_files: PlayerFiles) -> Collection:
    """The collection of one manifest; `show_sources` adds frames of the source videos.

    Copies for the players are added to `player_files`.
    """
    table = read_parquet(manifest_path).sort_values("video_id")
    run = manifest.last_run(table)
    done = table[table.status == "done"]
    counts = table.status.value_counts()
    parts = [f"{counts[s]} {s}" for s in ("done", "quarantined", "failed") if s in counts]
    frames = int(done.num_frames.sum())
    chosen, bad = (pick(done).to_dict("records") for pick in (_varied, _worst))
    by_id = {values["video_id"]: values for values in chosen + bad}
    worst = {values["video_id"] for values in bad}
    drawn = {
        name: _strip(manifest_path.parent, values, show_sources, player_files, worst=name in worst)
        for name, values in by_id.items()
    }
    sentence = f"{len(table)} videos: {', '.join(parts)}. {frames} frames were written."
    sentence += "" if run is None else f" {run}"
    measured = _measured(done)
    return Collection(
        name=str(manifest_path.parent.relative_to(root)),
        sentence=sentence,
        rows=tuple(_row(values) for values in table.to_dict("records")),
        strips=tuple(drawn[values["video_id"]] for values in chosen),
        worst=tuple(drawn[values["video_id"]] for values in bad),
        metrics=_metrics(done),
        surviving=int((measured.get("surviving_pixels", pd.Series(dtype=float)) > 0).sum()),
        rungs=rungs(measured),
        costs=costs.read(manifest_path.parent, done, measured),
    )


def _worst(done: pd.DataFrame) -> pd.DataFrame:
    """The videos with the lowest mean rank over the measurements; worst first."""
    measured = _measured(done)
    bad = pd.DataFrame(
        {
            key: measured[key].astype(float).rank(pct=True, ascending=key in LARGER_IS_WORSE)
            for key in LARGER_IS_WORSE | SMALLER_IS_WORSE
            if key in measured and measured[key].nunique() > 1
        }
    )
    return done.iloc[bad.mean(axis=1).fillna(0).to_numpy().argsort()[::-1][:WORST]] if len(bad) else done[:0]


def _measured(done: pd.DataFrame) -> pd.DataFrame:
    """The measurements of each video, a column each, in the order of the rows."""
    if "metrics" not in done:
        return pd.DataFrame()
    measured = pd.json_normalize([json.loads(text) for text in done.metrics])
    if any(f"person_frames.{name}" in measured for name in RUNGS):
        measured[BELOW_AVATARS] = below_avatars(measured)
    return measured


def _varied(done: pd.DataFrame) -> pd.DataFrame:
    """A few videos of different labels, from different positions in the lists, for different people."""
    groups = [group for _, group in done.groupby(done.label.fillna(""))]
    rounds = [
        group.iloc[[(turn + place) % len(group)]]
        for turn in range(MAX_STRIPS)
        for place, group in enumerate(groups)
        if turn < len(group)
    ]
    return pd.concat(rounds[:MAX_STRIPS]) if rounds else done


def _strip(
    folder: Path, values: dict, show_sources: bool, player_files: PlayerFiles, *, worst: bool
) -> Strip:
    """A video as images; of a bad one the frames with the lowest rungs."""
    length, fps = int(values["num_frames"]), float(values["fps"])
    frames = frame_indices(length, STRIP_FRAMES)
    if worst:
        frames = worst_frames(folder / f"{values['video_id']}.json", length, STRIP_FRAMES)
    source = source_player = None
    if show_sources:
        try:
            film = original(values["source"], values["source_sha256"])
            source = filmstrips.jpeg_uri(filmstrips.strip(film, frames))
            source_player = player_files.put(film, fps=fps)
        except UserError as error:
            raise UserError(
                f"The source of {values['video_id']} cannot be shown: {error} "
                "Restore it, or remove show_sources."
            ) from error
    return Strip(
        video_id=values["video_id"],
        label=None if pd.isna(values["label"]) else values["label"],
        anonymized=filmstrips.jpeg_uri(filmstrips.strip(folder / values["path"], frames)),
        source=source,
        anonymized_player=player_files.put(folder / values["path"], fps=fps),
        source_player=source_player,
    )


def _row(values: dict) -> VideoRow:
    def text(key: str, form: str = "{}") -> str:
        return "" if pd.isna(values[key]) else form.format(values[key])

    return VideoRow(
        video_id=values["video_id"],
        status=values["status"],
        reason=text("reason"),
        label=text("label"),
        people=text("num_people", "{:.0f}"),
        rungs=_rungs_of(values),
        frames=text("num_frames", "{:.0f}"),
        seconds=text("seconds", "{:.1f}"),
    )


def _rungs_of(values: dict) -> str:
    """Person-frames by rung, as "91 avatars, 8 silhouettes"."""
    counts = json.loads(values.get("metrics") or "{}").get("person_frames", {})
    return ", ".join(f"{counts[name]} {name}" for name in RUNGS if counts.get(name))


# Whether high or low values are bad. Other measurements are not in the table.
LARGER_IS_WORSE = {
    "surviving_pixels": "masked source pixels that influence the output",
    BELOW_AVATARS: "share of a video's person-frames without an avatar",
    "plate_unseen": "share of the background that was never observed and is inpainted",
    "truth.joint_error_mm": "against the truth: joint error (mm, root aligned)",
    "truth.joint_error_px": "against the truth: joint error (px)",
    "truth.joint_error_share": "against the truth: joint error (share of the person's extent in the image)",
    "truth.identity_switches": "against the truth: identity switches",
}
SMALLER_IS_WORSE = {
    "background_psnr": "background after encoding (dB)",
    "truth.person_recall": "against the truth: share of person-frames found",
    "truth.mask_recall": "against the truth: share of a person's pixels under the mask",
    "truth.mask_iou": "against the truth: intersection over union of the (dilated) mask",
}


def _metrics(done: pd.DataFrame) -> tuple[Metric, ...]:
    measured = _measured(done)
    rows = []
    for key, name in (LARGER_IS_WORSE | SMALLER_IS_WORSE).items():
        if key not in measured:
            continue
        values = np.sort(measured[key].dropna().to_numpy(dtype=float))
        if not len(values):
            continue
        tenth = max(1, len(values) // 10)
        worst = values[-tenth:] if key in LARGER_IS_WORSE else values[:tenth]
        rows.append(
            Metric(name=name, mean=f"{values.mean():.3g}", worst=f"{worst.mean():.3g}", videos=len(values))
        )
    return tuple(rows)
