"""Attributes are guessed where they show, and by chance alone where bodies were drawn by lot."""

from types import SimpleNamespace

import numpy as np
import pytest

from raymaskdp.audit.attacks import attributes, motion
from raymaskdp.audit.attacks.matching import Entries, compare, match
from raymaskdp.bodies.avatar import MALE, draw_avatar
from raymaskdp.bodies.body import load_body
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.draw_people import cast, manners
from raymaskdp.synthetic.perform import perform

SAMPLE = SynthesizeConfig(seed=7, people=12, frames=24)
"""The people of the demo."""


def skeleton(action: str, person: int, betas_S: np.ndarray) -> motion.MovingSkeleton:
    rng = np.random.default_rng([SAMPLE.actions.index(action), person])
    done = perform(action, num_frames=24, fps=12.0, manner=manners(SAMPLE)[person], rng=rng)
    joints = load_body().joints(done.rotations_TJ3, np.zeros((24, 3), np.float32), betas_S)
    return motion.MovingSkeleton(points_TP3=joints[:, motion.SMPL_P].astype(np.float64), fps=12.0)


@pytest.fixture(scope="module")
def seen() -> list[SimpleNamespace]:
    """Perfect anonymization: the same motion on a body drawn by lot, and an outline of its size."""
    people = cast(SAMPLE)
    return [
        SimpleNamespace(
            case=SimpleNamespace(row=SimpleNamespace(subject=f"s{person}", label=action)),
            source_skeleton=skeleton(action, person, people[person].betas_S),
            output_skeleton=skeleton(action, person, draw_avatar(b"lot", f"{person}").betas_S),
            outline=np.random.default_rng(person).normal(size=3),
            shape=people[person].betas_S,
        )
        for person in range(SAMPLE.people)
        for action in SAMPLE.actions
    ]


def guesses(seen: list[SimpleNamespace]) -> dict[tuple[str, str, str, str], attributes.Inference]:
    done, _ = attributes.infer(seen, seed=0)  # type: ignore[arg-type]
    return {(a.attribute, a.guessed_from, a.trained_on, a.asked_about): a for a in done}


def test_limbs_tell_stature_and_sex_of_sources_and_nothing_of_outputs(seen) -> None:
    found = guesses(seen)
    for attribute in ("stature", "sex"):
        assert found[attribute, "limb lengths", "source", "source"].found
        assert not found[attribute, "limb lengths", "source", "anonymized"].found
        assert not found[attribute, "limb lengths", "anonymized", "anonymized"].found


def test_the_preferred_side_stays(seen) -> None:
    found = guesses(seen)
    assert found["preferred side", "way of moving", "source", "source"].likely
    assert found["preferred side", "way of moving", "source", "anonymized"].likely


def test_a_kept_body_and_a_tall_outline_are_found(seen) -> None:
    leaky = [
        SimpleNamespace(
            **{
                **vars(s),
                "output_skeleton": s.source_skeleton,
                "outline": np.array([s.source_skeleton.limbs().sum(), 0, 0]),
            }
        )
        for s in seen
    ]
    found = guesses(leaky)
    assert found["stature", "limb lengths", "source", "anonymized"].found
    assert found["sex", "limb lengths", "anonymized", "anonymized"].found
    assert found["stature", "outline", "anonymized", "anonymized"].accuracy > 0.8


def test_chance_is_where_attributes_mean_nothing(seen) -> None:
    """Random shapes: guesses of sex are right as often as their interval states."""
    rng = np.random.default_rng(0)
    outcomes = []
    for _ in range(6):
        of = {
            s.case.row.subject: sign * np.array(MALE)
            for s, sign in zip(seen[:: len(SAMPLE.actions)], rng.permutation([1, -1] * 6), strict=True)
        }
        strangers = [SimpleNamespace(**{**vars(s), "shape": of[s.case.row.subject]}) for s in seen]
        a = guesses(strangers)["sex", "way of moving", "source", "source"]
        outcomes.append(a.chance_low <= a.accuracy <= a.chance_high)
        assert a.chance_low < 0.5 < a.chance_high
    assert np.mean(outcomes) > 0.6


def test_too_few_people_are_not_guessed(seen) -> None:
    _, not_shown = attributes.infer(seen[:16], seed=0)  # type: ignore[arg-type]
    assert any("needs 3 people of either kind" in text for text in not_shown)


def test_sample_people_are_known_by_their_way_of_moving_and_actions_by_theirs(seen) -> None:
    gaits = np.stack([s.source_skeleton.gait() for s in seen])
    subjects = np.array([s.case.row.subject for s in seen])
    actions = np.array(SAMPLE.actions * SAMPLE.people)

    def entries(known: np.ndarray) -> Entries:
        return Entries(
            features_ND=motion.standardized(gaits, known),
            subjects_N=subjects,
            videos_N=np.arange(len(seen)).astype(str),
            cameras_N=np.full(len(seen), ""),
        )

    found = match([compare(entries(actions), entries(actions))])
    assert found.found
    assert found.rank1 > 2 * found.chance
    unknown = entries(np.full(len(seen), ""))
    similarity = compare(unknown, unknown).similarity_QG
    similarity[subjects[:, None] == subjects] = -np.inf
    assert np.mean(actions[similarity.argmax(1)] == actions) > 0.95
