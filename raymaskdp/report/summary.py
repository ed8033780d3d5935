"""The summary page: what was protected, how well, and what remains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raymaskdp.audit import AnonymizationAudit
from raymaskdp.audit.counts import Count, count
from raymaskdp.report.audits import ShownAudit
from raymaskdp.report.trainings import Run, Sweep
from raymaskdp.report.videos import Collection


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Three answers, each a few sentences.

    Attributes:
      protected: the measures that protect people.
      measured: their measured effect.
      remains: remaining risks; never empty.
      alarms: findings of audits, which must be read first.
    """

    protected: tuple[str, ...]
    measured: tuple[str, ...]
    remains: tuple[str, ...]
    alarms: tuple[str, ...]


GLOSSARY = (
    ("adjacency", "the change of one record that ε hides: that it is blank, missing, or replaced."),
    ("avatar", "the rendered body that replaces a person; its appearance is random."),
    ("chance", "how often a guess is right; here estimated by permuting the names of the subjects."),
    ("composite", "the video that is written: avatars over the background without people."),
    ("δ (delta)", "the probability that the bound ε fails; below one over the number of records."),
    (
        "ε (epsilon)",
        "upper bound on what a trained model reveals about one record: odds change by at most e^ε.",
    ),
    ("ledger", "the record of what was released in each step; its digest identifies the training."),
    ("mAP", "mean average precision: how early the right entries appear in a ranked list."),
    ("MaskDP", "training in which only real pixels, the background, cost privacy."),
    ("quarantined", "held back: that no person remains could not be verified. None of it is published."),
    ("rank-1", "how often the most similar entry of a gallery is of the right person."),
    ("record", "the unit of privacy, a video or all videos of a person."),
    ("rule of three", "nothing found in n trials: the rate is at most 3 / n, with 95 % confidence."),
    ("TAR at FAR", "the share of true pairs accepted where that share of false pairs is."),
)


def leak_counts(collections: Sequence[Collection], audits: Sequence[ShownAudit]) -> list[Count]:
    """The counts that must be zero, the numbers of trials, and the bounds on their rates."""
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
    collections: Sequence[Collection],
    runs: Sequence[Run],
    sweeps: Sequence[Sweep],
    audits: Sequence[ShownAudit],
) -> Verdict:
    """The three answers, from all results."""
    protected, measured, alarms = [], [], []
    done = sum(collection.count("done") for collection in collections)
    held = sum(collection.count("quarantined") for collection in collections)
    if collections:
        shown = [collection.rungs for collection in collections if collection.rungs is not None]
        avatars = sum(rungs.rows[0].person_frames for rungs in shown)
        everybody = sum(row.person_frames for rungs in shown for row in rungs.rows)
        share = f"{avatars / everybody:.0%} of them" if everybody else "none"
        protected.append(
            f"In {done} videos all detected people are replaced: {share} by avatars, the others by "
            f"silhouettes, the background or a fill. {held} more are held back."
        )
    tested = [run.tested for run in runs if run.tested]
    measured += tested[:3]
    private = [run for run in runs if run.private]
    protected += [f"{run.name}: {run.sentence}" for run in private[:3]]
    if sweeps:
        protected.append("Settings were chosen by sweeps; the selection cost states the price of choosing.")
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
                f"Canaries proved no more than the claimed ε for {len(held_up)} faithful programs, and "
                f"exposed {caught} of {wanted} unprotected or deliberately broken programs."
            )
    if not any(audit.of_videos for audit in audits):
        measured.append(
            "No attack on the anonymized videos is in this report (raymaskdp audit anonymization)."
        )
    if not any(not audit.of_videos for audit in audits):
        measured.append("No audit of the training is in this report (raymaskdp audit training).")
    unknown = (
        ("A sweep with overlapping intervals does not show which mechanism is best; see its table.",)
        if sweeps
        else ()
    )
    remains = (
        *unknown,
        "Motion, gait, place and action stay in the videos; people may be recognized by them.",
        "Text, screens and photographs in the background are not searched for.",
        "ε covers training alone: not the videos, not figures measured on test videos, and not the data "
        "used to choose settings, beyond the sweep's selection cost.",
        "No count of zero proves zero; see the bounds below.",
    )
    return Verdict(
        protected=tuple(protected), measured=tuple(measured), remains=remains, alarms=tuple(alarms)
    )
