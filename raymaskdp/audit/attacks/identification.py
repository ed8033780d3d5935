"""Identification attacks by appearance and by motion, each with a control in which it must succeed.

Shape suffixes: V videos.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from raymaskdp.audit.attacks import appearance, motion
from raymaskdp.audit.attacks.matching import Entries, Matching, Scores, compare, match
from raymaskdp.audit.collect import CollectedPair
from raymaskdp.audit.config import AnonymizationAuditConfig

Expected = Literal["wins", "chance", "stays"]
LEAST_SUBJECTS = 4
"""Least number of people; with fewer, any result is consistent with chance."""


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One attack and its result.

    Attributes:
      name: the two compared sets.
      risk: "singling out" or "linkability" (WP216); "control" for an attack on the sources alone.
      expected: "wins" for a control; "chance" if a better result is a leak; "stays" if anonymization does not
        remove it by design.
      result: its figures.
    """

    name: str
    risk: str
    expected: Expected
    result: Matching


def identify(seen: list[CollectedPair], settings: AnonymizationAuditConfig) -> tuple[list[Attack], list[str]]:
    """All attacks on identity; and sentences about those that were impossible."""
    attacks: list[Attack] = []
    not_shown = []
    for name, usable, attack in (
        ("Appearance", [s for s in seen if s.case.alone and len(s.source)], _attack_appearance),
        ("Motion", [s for s in seen if s.source_skeleton and s.output_skeleton], _attack_motion),
    ):
        subjects = [s.case.row.subject for s in usable]
        again = [s for s in usable if subjects.count(s.case.row.subject) > 1]
        if len({s.case.row.subject for s in again}) < LEAST_SUBJECTS:
            not_shown.append(
                f"{name}: re-identification needs {LEAST_SUBJECTS} people, each alone in two videos or more."
            )
            continue
        attacks += attack(again, settings)
    for name, given in (("face", settings.face_model), ("looks", settings.person_model)):
        if given is not None:
            found, missing = attack_given(name, seen)
            attacks += found
            not_shown += missing
    return attacks, not_shown


def _attack_appearance(seen: list[CollectedPair], settings: AnonymizationAuditConfig) -> list[Attack]:
    subjects_V = np.array([s.case.row.subject for s in seen])
    gallery_V = _every_other(subjects_V)
    known, queries = np.flatnonzero(gallery_V), np.flatnonzero(~gallery_V)

    def train(pictures: list[np.ndarray], names: list[str]) -> appearance.AppearanceNet:
        return appearance.train_embedder(pictures, names, epochs=settings.epochs, seed=settings.seed)

    def entries(model: appearance.AppearanceNet, chosen: np.ndarray, *, output: bool) -> Entries:
        pictures = [seen[v].output if output else seen[v].source for v in chosen]
        return _entries(seen, chosen, appearance.embed(model, pictures))

    names = [str(subjects_V[v]) for v in known]
    model = train([seen[v].source for v in known], names)
    gallery = entries(model, known, output=False)
    controls = match([compare(entries(model, queries, output=False), gallery)])
    plain = match([compare(entries(model, queries, output=True), gallery)])
    # Trained on both kinds of images of half of the people, tested on the other half, and vice versa.
    people = np.unique(subjects_V)
    adaptive: list[Scores] = []
    adaptive_controls: list[Scores] = []
    for half in (people[::2], people[1::2]):
        learned, asked = (
            np.flatnonzero(chosen) for chosen in (~np.isin(subjects_V, half), np.isin(subjects_V, half))
        )
        both = [seen[v].source for v in learned] + [seen[v].output for v in learned]
        other = train(both, [str(subjects_V[v]) for v in learned] * 2)
        targets = entries(other, np.intersect1d(asked, known), output=False)
        asking = np.intersect1d(asked, queries)
        adaptive.append(compare(entries(other, asking, output=True), targets))
        adaptive_controls.append(compare(entries(other, asking, output=False), targets))
    linker = train([seen[v].output for v in known], names)
    linked = match([compare(entries(linker, queries, output=True), entries(linker, known, output=True))])
    return [
        Attack(name="appearance, source to source", risk="control", expected="wins", result=controls),
        Attack(name="appearance, anonymized to source", risk="singling out", expected="chance", result=plain),
        Attack(
            name="appearance, source to source, adaptive attacker",
            risk="control",
            expected="wins",
            result=match(adaptive_controls),
        ),
        Attack(
            name="appearance, anonymized to source, adaptive attacker",
            risk="singling out",
            expected="chance",
            result=match(adaptive),
        ),
        Attack(
            name="appearance, anonymized to anonymized", risk="linkability", expected="stays", result=linked
        ),
    ]


def _attack_motion(seen: list[CollectedPair], settings: AnonymizationAuditConfig) -> list[Attack]:
    everyone = np.arange(len(seen))
    actions_V = np.array([s.case.row.label or "" for s in seen])
    attacks = []
    for name, what, kept in (
        ("limb lengths", motion.MovingSkeleton.limbs, False),
        ("way of moving", motion.MovingSkeleton.gait, True),
    ):
        features = [
            motion.standardized(np.stack([what(skeleton) for skeleton in skeletons]), actions_V)
            for skeletons in (
                [s.source_skeleton for s in seen if s.source_skeleton],
                [s.output_skeleton for s in seen if s.output_skeleton],
            )
        ]
        # Skeletons do not show rooms, so videos of one camera may be compared.
        source, output = (_entries(seen, everyone, found, cameras=False) for found in features)
        attacks += [
            Attack(
                name=f"{name}, source to source",
                risk="control",
                expected="wins",
                result=match([compare(source, source)]),
            ),
            Attack(
                name=f"{name}, anonymized to source",
                risk="singling out",
                expected="stays" if kept else "chance",
                result=match([compare(output, source)]),
            ),
        ]
    return attacks


def attack_given(name: str, seen: list[CollectedPair]) -> tuple[list[Attack], list[str]]:
    """The attack with a network given by path, "face" or "looks"; and sentences about impossible ones."""
    before, after = (
        [(s, vector_D) for s in seen if name in s.vectors and (vector_D := s.vectors[name][at]) is not None]
        for at in (0, 1)
    )
    title = {"face": "face by the given network", "looks": "looks by the given network"}[name]
    people = {s.case.row.subject for s, _ in before}
    if len(people) < LEAST_SUBJECTS or len(before) == len(people):
        return [], [f"{title}: needs {LEAST_SUBJECTS} people, each in two sources or more."]

    def entries(some: list[tuple[CollectedPair, np.ndarray]]) -> Entries:
        vectors_ND = np.stack([vector_D for _, vector_D in some])
        return _entries([s for s, _ in some], np.arange(len(some)), vectors_ND)

    gallery = entries(before)
    control = match([compare(gallery, gallery)])
    attacks = [Attack(name=f"{title}, source to source", risk="control", expected="wins", result=control)]
    asked = [(s, vector_D) for s, vector_D in after if s.case.row.subject in people]
    if not asked:
        return attacks, [f"{title}: none is detected in the outputs, so none can be matched."]
    attacks.append(
        Attack(
            name=f"{title}, anonymized to source",
            risk="singling out",
            expected="chance",
            result=match([compare(entries(asked), gallery)]),
        )
    )
    return attacks, []


def _entries(
    seen: list[CollectedPair], chosen: np.ndarray, features: np.ndarray, *, cameras: bool = True
) -> Entries:
    rows = [seen[v].case.row for v in chosen]
    return Entries(
        features_ND=features,
        subjects_N=np.array([str(row.subject) for row in rows]),
        videos_N=np.array([row.video_id for row in rows]),
        cameras_N=np.array([(row.camera or "") if cameras else "" for row in rows]),
    )


def _every_other(subjects_V: np.ndarray) -> np.ndarray:
    """Every other video of each subject, bool [V]: the gallery; the rest are queries."""
    chosen_V = np.zeros(len(subjects_V), dtype=bool)
    for subject in np.unique(subjects_V):
        chosen_V[np.flatnonzero(subjects_V == subject)[::2]] = True
    return chosen_V
