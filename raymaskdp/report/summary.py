"""The summary page: what was protected, how well, and what remains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raymaskdp.audit import AnonymizationAudit
from raymaskdp.audit.counts import Count, count
from raymaskdp.report.audits import Shown
from raymaskdp.report.trainings import Run, Sweep
from raymaskdp.report.videos import Collection


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Three answers, each a few sentences.

    Attributes:
      protected: what was done to protect people.
      measured: how well that went, as far as it was measured.
      remains: what is left open; never empty.
      alarms: findings of audits, which must be read first.
    """

    protected: tuple[str, ...]
    measured: tuple[str, ...]
    remains: tuple[str, ...]
    alarms: tuple[str, ...]


GLOSSARY = (
    ("adjacency", "which change of one record ε hides: that it is blank, missing, or another."),
    ("avatar", "the rendered body that moves where a person was; its looks are drawn by lot."),
    ("chance", "how often a guess is right; here found by dealing names out anew, subject by subject."),
    ("composite", "the video that is written: avatars over the background without people."),
    ("δ (delta)", "the probability of anything at all going wrong with ε; below one over the records."),
    (
        "ε (epsilon)",
        "how much a trained model can tell about one record, at most: odds change by a factor of e^ε.",
    ),
    ("ledger", "the file that says what was released in each step; its digest names this very training."),
    ("mAP", "mean average precision: how early the right entries come in a ranked list."),
    ("MaskDP", "training in which only what is still real, the background, costs privacy."),
    ("quarantined", "kept back: that nobody is left in it could not be shown. Nothing of it is written."),
    ("rank-1", "how often the most similar entry of a gallery is of the right person."),
    ("record", "the unit of privacy, a video or all videos of a person."),
    ("rule of three", "nothing found in n trials: the rate is at most 3 / n, with 95 % confidence."),
    ("TAR at FAR", "the share of true pairs accepted where that share of false pairs is."),
)


def leak_counts(collections: Sequence[Collection], audits: Sequence[Shown]) -> list[Count]:
    """What must be zero, how often it was looked for, and the rate that is not excluded."""
    counts = [
        count(
            "written videos with source pixels surviving under a mask",
            collection.surviving,
            collection.count("done"),
        )
        for collection in collections
        if collection.count("done")
    ]
    for audit in audits:
        if isinstance(audit.outcome, AnonymizationAudit):
            counts += [found for found in audit.outcome.counts if "with a face" not in found.name]
    return counts


def verdict(
    collections: Sequence[Collection], runs: Sequence[Run], sweeps: Sequence[Sweep], audits: Sequence[Shown]
) -> Verdict:
    """The three answers, from everything that was found."""
    protected, measured, alarms = [], [], []
    done = sum(collection.count("done") for collection in collections)
    held = sum(collection.count("quarantined") for collection in collections)
    if collections:
        shown = [collection.rungs for collection in collections if collection.rungs is not None]
        avatars = sum(rungs.rows[0].person_frames for rungs in shown)
        everybody = sum(row.person_frames for rungs in shown for row in rungs.rows)
        share = f"{avatars / everybody:.0%} of them" if everybody else "none"
        protected.append(
            f"In {done} videos everybody who was found is replaced: {share} by avatars, the others by "
            f"silhouettes, the background or a fill. {held} more are held back."
        )
    tested = [run.tested for run in runs if run.tested]
    measured += tested[:3]
    private = [run for run in runs if run.private]
    protected += [f"{run.name}: {run.sentence}" for run in private[:3]]
    if sweeps:
        protected.append("Settings were chosen by sweeps; their selection cost says what choosing costs.")
    for audit in audits:
        outcome = audit.outcome
        alarms += [f"{audit.name}: {finding}" for finding in outcome.findings]
        if isinstance(outcome, AnonymizationAudit):
            measured += [f"{risk.question} {risk.answer}" for risk in outcome.risks]
        else:
            caught = sum(test.expected == "caught" and test.as_expected for test in outcome.canaries)
            wanted = sum(test.expected == "caught" for test in outcome.canaries)
            held_up = [test for test in outcome.canaries if test.expected == "holds" and test.as_expected]
            measured.append(
                f"Canaries proved no more than was claimed of {len(held_up)} faithful programs, and exposed "
                f"{caught} of {wanted} that are unprotected or broken on purpose."
            )
    if not any(audit.of_videos for audit in audits):
        measured.append(
            "No attack on the anonymized videos is in this report (raymaskdp audit anonymization)."
        )
    if not any(not audit.of_videos for audit in audits):
        measured.append("No audit of the training is in this report (raymaskdp audit training).")
    unknown = (
        ("Which mechanism is best is not known from a sweep whose intervals overlap; see its table.",)
        if sweeps
        else ()
    )
    remains = (
        *unknown,
        "Motion, gait, place and action stay in the videos; people may be recognised by them.",
        "Text, screens and photographs in the background are not looked for.",
        "ε covers training alone: not the videos, not figures measured on test videos, and not what was "
        "looked at to choose settings, beyond the sweep's selection cost.",
        "No count of zero proves zero; see the bounds below.",
    )
    return Verdict(
        protected=tuple(protected), measured=tuple(measured), remains=remains, alarms=tuple(alarms)
    )
