"""Attackers given by path: any ONNX network that makes a vector of a picture."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.drawn import Leak, T, draw
from support.onnx_files import linear

from raymaskdp.audit import AnonymizationAuditConfig, audit_anonymization
from raymaskdp.audit.attacks import embedding
from raymaskdp.audit.attacks.identification import attack_given
from raymaskdp.audit.video_pairs import find_cases
from raymaskdp.errors import UserError

SIDE = 16


def colours(folder: Path) -> Path:
    """A network that answers with the mean of each channel over the four quarters of a picture's height."""
    weights = np.zeros((1, 12, 3, SIDE, SIDE), np.float32)
    for quarter in range(4):
        for channel in range(3):
            weights[0, 3 * quarter + channel, channel, 4 * quarter : 4 * quarter + 4] = 4 / SIDE**2
    path = folder / "colours.onnx"
    path.write_bytes(linear(weights, np.zeros((1, 12), np.float32), SIDE))
    return path


def settings(path: Path) -> AnonymizationAuditConfig:
    return AnonymizationAuditConfig(
        frames=T, detector_frames=0, epochs=1, action_epochs=0, progress=False,
        person_model=path, person_size=(SIDE, SIDE),
    )  # fmt: skip


@pytest.mark.slow
def test_a_given_network_attacks_with_its_control(tmp_path: Path) -> None:
    sources, out = draw(tmp_path, Leak(colours_kept=True))
    found = audit_anonymization(out, sources, settings=settings(colours(tmp_path)))
    by_name = {attack.name: attack.result for attack in found.attacks}
    assert by_name["looks by the given network, source to source"].found
    assert by_name["looks by the given network, anonymized to source"].found
    assert any("given network, anonymized to source" in text for text in found.findings)


def test_faces_are_matched_where_there_are_any(tmp_path: Path) -> None:
    """Vectors stand in for faces here: what is found is a matter of the detector's own tests."""
    sources, out = draw(tmp_path, Leak(), people=4, takes=2)
    rng = np.random.default_rng(0)
    own = {f"person{n}": rng.normal(size=16) for n in range(4)}
    cases = find_cases(out, sources, most=8)

    def seen(after: bool) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(
                case=case,
                vectors={"face": (own[case.row.subject], own[case.row.subject] if after else None)},
            )
            for case in cases
        ]

    attacks, missing = attack_given("face", seen(True))  # type: ignore[arg-type]
    assert [attack.result.rank1 for attack in attacks] == [1, 1]
    assert attacks[1].expected == "chance"
    assert not missing
    attacks, missing = attack_given("face", seen(False))  # type: ignore[arg-type]
    assert [attack.name for attack in attacks] == ["face by the given network, source to source"]
    assert "none is detected in the outputs" in missing[0]
    attacks, missing = attack_given("face", seen(True)[:2])  # type: ignore[arg-type]
    assert attacks == []
    assert "4 people" in missing[0]


def test_a_picture_becomes_the_vector_that_the_network_makes(tmp_path: Path) -> None:
    picture = np.zeros((64, 32, 3), np.uint8)
    picture[:16, :, 0] = 255
    zero, one = np.zeros(3, np.float32), np.full(3, 255, np.float32)
    embed = embedding.Embedder(
        colours(tmp_path), size=(SIDE, SIDE), mean=zero, spread=one, name="person_model"
    )
    np.testing.assert_allclose(embed(picture), np.eye(12)[0], atol=1e-5)
    assert embedding.mean_direction([]) is None
    np.testing.assert_allclose(embedding.mean_direction([3 * np.eye(2)[0], np.eye(2)[0]]), [1, 0])


def test_what_is_no_such_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"nothing")
    how = {"mean": embedding.FACE_MEAN, "spread": embedding.FACE_SPREAD, "name": "face_model"}
    with pytest.raises(UserError, match="give an ONNX network as face_model"):
        embedding.Embedder(tmp_path / "no.onnx", size=(SIDE, SIDE), **how)
    with pytest.raises(UserError, match="of 8 by 8 pixels"):
        embedding.Embedder(colours(tmp_path), size=(8, 8), **how)
