"""`raymaskdp audit anonymization`: try to find the people of the sources in the anonymized videos.

One pass over every pair of source and output collects the attackers' inputs. Then the attackers are trained,
each together with a control in which it must succeed. An attack whose control fails shows nothing, and the
result says so.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from raymaskdp import config, files, places
from raymaskdp.audit import figures
from raymaskdp.audit.attacks import actions
from raymaskdp.audit.attacks.actions import ActionFidelity
from raymaskdp.audit.attacks.attributes import Inference, infer
from raymaskdp.audit.attacks.faces import Detections
from raymaskdp.audit.attacks.identification import Attack, identify
from raymaskdp.audit.collect import CollectedPair, collect
from raymaskdp.audit.config import AnonymizationAuditConfig
from raymaskdp.audit.counts import Count, count
from raymaskdp.audit.fidelity import PoseFidelity, measure_pose
from raymaskdp.audit.leaks import TEXTURE_OF_ALL
from raymaskdp.audit.video_pairs import find_cases
from raymaskdp.bodies.body import load_body
from raymaskdp.datasets.separate_folders import keep_apart
from raymaskdp.errors import UserError
from raymaskdp.places import LocalPath

NAMED = 8
"""Largest number of videos that a finding names."""
LARGE_SET = 10
"""Least number of videos for a separate test of their mean texture."""
NOT_COVERED = (
    "Text, screens, letters and photographs in the background are not searched for.",
    "Voices are removed unless composite.keep_audio keeps them; sound is not attacked here.",
    "The attackers are small and trained on these subjects alone; a stronger one may find more.",
    "The sources, and so the figures here, are of these videos. Other scenes can be harder.",
)


@dataclass(frozen=True, kw_only=True)
class Risk:
    """One of the three questions of the Article 29 Working Party (WP216), answered by the attacks."""

    name: str
    question: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class AnonymizationAudit:
    """The outcome. It has no picture and no figure of one person; but the figures describe private videos.

    Attributes:
      folder: the folder of the result: audit.json, tables as CSV, plots as SVG and PNG.
      audited: the folder of anonymized videos.
      videos, subjects: their numbers.
      attacks, counts, actions, pose: results of the measurements; `pose` is None without ground truth.
      attributes: results of attribute inference.
      risks: the three questions of WP216.
      findings: leaks, in sentences; empty if there are none.
      not_shown: measurements that were impossible, or whose control failed.
      not_covered: what no attack here examines.
    """

    folder: str
    audited: str
    videos: int
    subjects: int
    attacks: tuple[Attack, ...]
    counts: tuple[Count, ...]
    actions: tuple[ActionFidelity, ...]
    pose: PoseFidelity | None
    risks: tuple[Risk, ...]
    findings: tuple[str, ...]
    not_shown: tuple[str, ...]
    not_covered: tuple[str, ...] = NOT_COVERED
    attributes: tuple[Inference, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.videos} videos of {self.subjects} people were attacked."]
        for attack in self.attacks:
            found = attack.result
            lines.append(
                f"  {attack.name}: rank-1 {found.rank1:.0%} of {found.queries} "
                f"(chance {found.chance_low:.0%}–{found.chance_high:.0%}), mAP {found.mean_ap:.0%}, "
                f"TAR {found.tar:.0%} at FAR {found.far:g}"
            )
        lines += [
            f"  {a.name}: {a.accuracy:.0%} of {a.videos} (chance {a.chance_low:.0%}–{a.chance_high:.0%})"
            for a in self.attributes
        ]
        lines += [f"  {c.name}: {c.found} of {c.trials} (at most {c.at_most:.1%})" for c in self.counts]
        lines += [
            f"  action, {a.trained_on} to {a.asked_about}: {a.accuracy:.0%} of {a.videos}"
            for a in self.actions
        ]
        lines += [f"LEAK: {finding}" for finding in self.findings] or ["No leak was found."]
        lines += [f"Not shown: {text}" for text in self.not_shown]
        return "\n".join([*lines, f"Written to {self.folder}."])


def audit_anonymization(
    folder: LocalPath,
    sources: LocalPath,
    out: LocalPath | None = None,
    settings: AnonymizationAuditConfig | None = None,
) -> AnonymizationAudit:
    """Attack the anonymized videos in `folder`.

    Args:
      sources: the manifest that was anonymized; its `subject` names the person of each video.
      out: folder for the result, `FOLDER-audit` beside `folder` by default.

    Raises:
      UserError: nothing to compare, or a source that is missing or different.
    """
    settings = settings or AnonymizationAuditConfig()
    folder = Path(folder)
    place = Path(out) if out else folder.resolve().with_name(f"{folder.resolve().name}-audit")
    _require_apart(place, folder, Path(sources))
    cases = find_cases(folder, sources, most=settings.videos)
    files.make_folder(place)
    files.require_ours(place / "audit.json", of=folder)  # before the work
    seen = collect(cases, settings)
    attacks, not_shown = identify(seen, settings)
    attributes, missing = infer(seen, seed=settings.seed)
    not_shown += missing
    fidelity, missing = _actions(seen, settings)
    not_shown += missing
    pose = measure_pose(cases, load_body(settings.body))
    if pose is None:
        not_shown.append("Pose fidelity needs ground truth, which these sources do not have.")
    not_shown += [
        f"{attack.name}: the attacker fails on the sources, too, so its result on the outputs shows nothing."
        for attack in attacks
        if attack.expected == "wins" and not attack.result.found
    ]
    not_shown += [
        f"{a.attribute} from the {a.guessed_from}: the attacker fails on the sources, too."
        for a in attributes
        if a.expected == "wins" and not a.likely
    ]
    if not any(s.detections.faces_before for s in seen):
        not_shown.append(
            "Faces: none is detected in the sources, so their absence in the outputs shows nothing."
        )
    with_hands = [s.case.row.video_id for s in seen if s.detections.hands]
    if with_hands:
        not_shown.append(
            f"Hands: a detector reports one beside the avatars in {_named(with_hands)}; look at them, "
            "because in rendered rooms it takes books and curtains for hands."
        )
    result = AnonymizationAudit(
        folder=str(place),
        audited=str(folder),
        videos=len(cases),
        subjects=len({case.row.subject for case in cases if case.row.subject is not None}),
        attacks=tuple(attacks),
        counts=_counts(seen),
        actions=fidelity,
        pose=pose,
        attributes=tuple(attributes),
        risks=_risks(attacks, attributes, fidelity),
        findings=tuple(_findings(seen, attacks, attributes)),
        not_shown=tuple(not_shown),
    )
    _write(place, result, folder)
    return result


def _require_apart(place: Path, folder: Path, sources: Path) -> None:
    """Raise `UserError` if the result would be inside the sources, or in a folder that is published."""
    keep_apart(place, sources, ())
    if places.within(place, folder) or places.within(folder, place):
        raise UserError(
            f"The folder {place} for the result and {folder}, which is published, are the same or one is in "
            "the other; give a folder beside it."
        )


def read_audit(path: Path) -> AnonymizationAudit:
    """A result from its audit.json."""
    return config.read_back(AnonymizationAudit, path, without=("kind",))


def _actions(
    seen: list[CollectedPair], settings: AnonymizationAuditConfig
) -> tuple[tuple[ActionFidelity, ...], list[str]]:
    if not settings.action_epochs:
        return (), ["Action fidelity was not measured (action_epochs=0)."]
    labelled = [s for s in seen if s.clips is not None]
    usable = [s for s in labelled if s.clips is not None and len(s.clips["real"]) == settings.frames]
    if labelled and not usable:
        return (), [
            f"Action fidelity needs videos of {settings.frames} frames or more; give a smaller frames."
        ]
    test_V = np.array([s.case.row.split == "test" for s in usable], dtype=bool)
    labels = [str(s.case.row.label) for s in usable]
    if not test_V.any() or len(set(np.array(labels)[~test_V])) < 2:
        return (), ["Action fidelity needs labelled videos of two actions, and some of the split 'test'."]
    clips = {kind: [s.clips[kind] for s in usable if s.clips] for kind in actions.KINDS}
    measured = actions.measure_actions(
        clips, labels, test_V, epochs=settings.action_epochs, seed=settings.seed
    )
    return measured, []


def _counts(seen: list[CollectedPair]) -> tuple[Count, ...]:
    looked = sum(
        (s.detections for s in seen), Detections(frames=0, faces_before=0, faces_after=0, beside=0, hands=0)
    )
    videos = len(seen)
    return (
        count(
            "videos with pixels of the person left in the output", sum(s.leaks.person for s in seen), videos
        ),
        count(
            "videos whose avatar layer contains pixels of the source",
            sum(s.leaks.layer for s in seen),
            videos,
        ),
        count("frames with a face or body beside the avatars", looked.beside, looked.frames),
        count("frames with a hand beside the avatars, unconfirmed", looked.hands, looked.frames),
        count("source frames with a face", looked.faces_before, looked.frames),
        count("output frames with a face (avatars have faces)", looked.faces_after, looked.frames),
    )


def _findings(seen: list[CollectedPair], attacks: list[Attack], attributes: list[Inference]) -> list[str]:
    found = []
    for what, leaky in (
        ("The person's own pixels are in the output of", [s for s in seen if s.leaks.person]),
        ("The avatar layer contains pixels of the source in", [s for s in seen if s.leaks.layer]),
        ("A detector finds a person beside the avatars in", [s for s in seen if s.detections.beside]),
    ):
        if leaky:
            found.append(f"{what} {_named([s.case.row.video_id for s in leaky])}.")
    texture = float(np.mean([s.leaks.texture for s in seen]))
    if len(seen) >= LARGE_SET and texture > TEXTURE_OF_ALL:
        found.append(
            f"Fine detail of the avatar layers follows the sources (mean correlation {texture:.2f}): "
            "background is mixed into them."
        )
    found += [
        f"{attack.name}: rank-1 {attack.result.rank1:.0%}, where chance reaches "
        f"{attack.result.chance_high:.0%} at most (p = {attack.result.p:.2g})."
        for attack in attacks
        if attack.expected == "chance" and attack.result.found
    ]
    found += [
        f"{a.name}: {a.accuracy:.0%} right, where chance reaches {a.chance_high:.0%} at most (p = {a.p:.2g})."
        for a in attributes
        if a.expected == "chance" and a.found
    ]
    return found


def _named(videos: list[str]) -> str:
    more = f" and {len(videos) - NAMED} more" if len(videos) > NAMED else ""
    return ", ".join(videos[:NAMED]) + more


def _risks(
    attacks: list[Attack], attributes: list[Inference], fidelity: tuple[ActionFidelity, ...]
) -> tuple[Risk, ...]:
    by_name = {attack.name: attack.result for attack in attacks}

    def rank1(name: str) -> str:
        found = by_name.get(name)
        if found is None:
            return "not measured"
        control = by_name.get(f"{name.split(',')[0]}, source to source")
        blind = "" if control is None or control.found else "; but the control fails, so this shows nothing"
        return f"{found.rank1:.0%} (chance {found.chance_low:.0%}–{found.chance_high:.0%}{blind})"

    def share(kind: str) -> str:
        named = [a.accuracy for a in fidelity if a.trained_on == a.asked_about == kind]
        return f"{named[0]:.0%}" if named else "an unknown share"

    return (
        Risk(
            name="singling out",
            question="Can a person of the sources be found among the anonymized videos?",
            answer=f"By looks: rank-1 {rank1('appearance, anonymized to source')}; by limb lengths: "
            f"{rank1('limb lengths, anonymized to source')}; by the way of moving: "
            f"{rank1('way of moving, anonymized to source')}. A person with a source video can find its "
            "anonymized version: place, moment and motion are the same.",
        ),
        Risk(
            name="linkability",
            question="Can two anonymized videos of one person be linked?",
            answer=f"Rank-1 {rank1('appearance, anonymized to anonymized')}. Where the manifest names "
            "subjects, a subject has one avatar in all videos, so they link by design: who recognises one "
            "video, by its place or motion, knows the others. Leave the column `subject` out to prevent it; "
            "other data about the same avatar, such as another release under the same secret, link too.",
        ),
        Risk(
            name="inference",
            question="What can be learned about a person from the anonymized video?",
            answer="The action, the place and the motion: they are what the videos are kept for. The action "
            f"is named in {share('anonymized')} of the anonymized videos and in {share('real')} of the real "
            f"ones. {_guessed(attributes)}",
        ),
    )


def _guessed(attributes: list[Inference]) -> str:
    """Sentences about what can be inferred about a person from the outputs."""
    found = [a for a in attributes if a.asked_about == "anonymized" and a.likely]
    if not attributes:
        return (
            "Masks show approximately how large a person was; how well that can be inferred was not measured."
        )
    if not found:
        return "Stature, sex and preferred side were guessed no better than by chance."
    return (
        "Of people not seen before, these were guessed better than by chance: "
        + "; ".join(
            f"{a.attribute} from the {a.guessed_from} ({a.accuracy:.0%}, chance "
            f"{a.chance_low:.0%}–{a.chance_high:.0%}, trained on {a.trained_on} videos)"
            for a in found
        )
        + "."
    )


def _write(place: Path, result: AnonymizationAudit, folder: Path) -> None:
    colours = {"wins": figures.BEFORE, "chance": figures.MEASURED, "stays": figures.STAYS}
    if result.attacks:
        figures.bars(
            place / "identification",
            [(a.name, a.result.rank1, None, None, colours[a.expected]) for a in result.attacks],
            chance={a.name: (a.result.chance_low, a.result.chance_high) for a in result.attacks},
            label="rank-1; grey: 95 % interval of chance",
        )
        figures.table(
            place / "identification",
            [
                {"attack": a.name, "risk": a.risk, "expected": a.expected, **asdict(a.result)}
                for a in result.attacks
            ],
        )
    if result.attributes:
        figures.bars(
            place / "attributes",
            [(a.name, a.accuracy, None, None, colours[a.expected]) for a in result.attributes],
            chance={a.name: (a.chance_low, a.chance_high) for a in result.attributes},
            label="guessed right; grey: 95 % interval of chance",
        )
        figures.table(place / "attributes", [{"name": a.name, **asdict(a)} for a in result.attributes])
    if result.actions:
        figures.bars(
            place / "actions",
            [
                (
                    f"{a.trained_on} → {a.asked_about}",
                    a.accuracy,
                    a.low,
                    a.high,
                    figures.MEASURED if a.trained_on == "anonymized" else figures.BEFORE,
                )
                for a in result.actions
            ],
            chance={},
            label="actions named; lines: 95 % intervals",
        )
        figures.table(place / "actions", [asdict(row) for row in result.actions])
    figures.table(place / "counts", [asdict(row) for row in result.counts])
    files.write_json(place / "audit.json", {"kind": "anonymization", **config.to_dict(result)}, of=folder)
