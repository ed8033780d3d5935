"""A detector by path sees the frame as documented, and what it sees in finished frames is redacted."""

from pathlib import Path

import numpy as np
import pytest
from support.formats import Film, write_smarthome
from support.onnx_files import linear

from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.anonymize.run import anonymize
from raymaskdp.anonymize.verify.config import VerifyConfig
from raymaskdp.anonymize.verify.look_again import LookAgain
from raymaskdp.anonymize.verify.onnx_detector import OnnxPeople
from raymaskdp.errors import UserError
from raymaskdp.video.reader import stream

SIDE, PLACES = 32, 16 + 4 + 1
CELL = 8  # of stride 8, of which the picture has 4 by 4: the first 16 places


def _fixed(path: Path, answer: np.ndarray) -> Path:
    """A network that always gives the same answer."""
    path.write_bytes(linear(np.zeros((*answer.shape, 3, SIDE, SIDE), np.float32), answer, SIDE))
    return path


def _yolov8(*rows: tuple[float, ...]) -> np.ndarray:
    """An answer with these figures in its first places."""
    answer = np.zeros((1, len(rows[0]), PLACES), np.float32)
    answer[0, :, : len(rows)] = np.transpose(rows)
    return answer


def _open(path: Path) -> OnnxPeople:
    return OnnxPeople(path, side=SIDE, confidence=0.5)


def _sees_red(path: Path, *, yolox: bool) -> Path:
    """A network that sees a person of half a cell wherever the middle of a cell is red."""
    shape = (PLACES, 6) if yolox else (5, PLACES)
    weights, bias = np.zeros((1, *shape, 3, SIDE, SIDE), np.float32), np.zeros((1, *shape), np.float32)
    for place in range(16):
        row, column = divmod(place, 4)
        y, x = row * CELL + CELL // 2, column * CELL + CELL // 2
        if yolox:
            bias[0, place] = (0.5, 0.5, np.log(0.5), np.log(0.5), 0, 1)
            weights[0, place, 4, 2, y, x] = 1 / 255
        else:
            bias[0, :4, place] = (x, y, CELL / 2, CELL / 2)
            weights[0, 4, place, 0, y, x] = 1
    path.write_bytes(linear(weights, bias, SIDE))
    return path


@pytest.mark.parametrize("yolox", [True, False])
@pytest.mark.parametrize(("height", "width"), [(120, 320), (320, 120), (24, 16), (32, 32)])
def test_the_frame_is_seen_and_boxes_are_in_its_pixels(
    tmp_path: Path, yolox: bool, height: int, width: int
) -> None:
    """What is red is found where it is, in wide, tall, small and square frames; grey edges give none."""
    people = _open(_sees_red(tmp_path / "red.onnx", yolox=yolox))
    assert len(people(np.full((height, width, 3), (0, 255, 255), np.uint8))) == 0
    cell = CELL * max(height, width) / SIDE
    for column, row in ((0, 0), (int(width / cell) - 1, 0), (0, int(height / cell) - 1)):
        frame = np.zeros((height, width, 3), np.uint8)
        top, left = int(row * cell), int(column * cell)
        frame[top : top + int(cell), left : left + int(cell)] = (255, 0, 0)
        (box,) = people(frame)
        expected = np.array([column + 0.25, row + 0.25, column + 0.75, row + 0.75]) * cell
        np.testing.assert_allclose(box[:4], expected, atol=0.01 * cell)
        assert box[4] == pytest.approx(1, abs=0.01)


def test_only_people_count_and_each_once(tmp_path: Path) -> None:
    """Of three classes the first is the person; boxes of one person are merged, the best one stays."""
    answer = _yolov8(
        (8, 8, 8, 8, 0.7, 0.1, 0.1),
        (8, 9, 8, 8, 0.9, 0.1, 0.1),
        (24, 24, 8, 8, 0.1, 0.95, 0.95),
        (24, 8, 8, 8, 0.49, 0, 0),
    )
    (box,) = _open(_fixed(tmp_path / "v8.onnx", answer))(np.zeros((SIDE, SIDE, 3), np.uint8))
    np.testing.assert_allclose(box, (4, 5, 12, 13, 0.9), atol=1e-4)


def test_scores_of_yolox_are_products_and_strides_follow_each_other(tmp_path: Path) -> None:
    answer = np.zeros((1, PLACES, 7), np.float32)
    answer[0, 16 + 3] = (0.5, 0.5, 0, np.log(2), 0.9, 0.8, 0)  # last place of stride 16
    answer[0, 20] = (0.5, 0.5, 0, 0, 0.7, 0.7, 0)  # an object, but 0.49 only
    answer[0, 0] = (0.5, 0.5, 0, 0, 0.9, 0, 1)  # something else
    (box,) = _open(_fixed(tmp_path / "x.onnx", answer))(np.zeros((SIDE, SIDE, 3), np.uint8))
    np.testing.assert_allclose(box, (16, 8, 32, 40, 0.72), atol=1e-4)


def test_unfit_networks_are_one_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a network")
    with pytest.raises(UserError, match="cannot read"):
        _open(broken)
    for shape in ((1, 5, PLACES - 1), (1, 4, PLACES), (1, PLACES, 5), (PLACES, 6), (2, PLACES, 6)):
        with pytest.raises(UserError, match="but a detector returns"):
            _open(_fixed(tmp_path / "shape.onnx", np.zeros(shape, np.float32)))
    with pytest.raises(UserError, match="not finite"):
        _open(_fixed(tmp_path / "nan.onnx", np.full((1, 5, PLACES), np.nan, np.float32)))
    fit = _fixed(tmp_path / "fit.onnx", np.zeros((1, 5, PLACES), np.float32))
    with pytest.raises(UserError, match="detector_side"):
        OnnxPeople(fit, side=64, confidence=0.5)
    with pytest.raises(UserError, match="multiple of 32"):
        VerifyConfig(detector_side=100)
    with pytest.raises(UserError, match="look_again=false"):
        VerifyConfig(look_again=False, detector=fit)


def test_a_run_refuses_an_unfit_detector_before_it_starts(film: Film, tmp_path: Path) -> None:
    config = VerifyConfig(detector=tmp_path / "missing.onnx", detector_side=SIDE)
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"verify\.detector"):
        anonymize(film.record.path, out, AnonymizeConfig(verify=config))
    _fixed(tmp_path / "missing.onnx", np.zeros((1, 7, 7), np.float32))
    with pytest.raises(UserError, match="but a detector returns"):
        anonymize(film.record.path, out, AnonymizeConfig(verify=config))
    assert not out.exists()


def test_a_person_in_the_end_is_reported(tmp_path: Path) -> None:
    """In a picture without people only this detector reports one, and its report counts."""
    nobody = np.full((96, 128, 3), 90, np.uint8)
    config = VerifyConfig(detector=_sees_red(tmp_path / "red.onnx", yolox=False), detector_side=SIDE)
    look = LookAgain(config)
    assert look(nobody).shape == (0, 4)
    nobody[:64, :64] = (255, 0, 0)
    low_N2, high_N2 = np.split(look(nobody), 2, axis=1)
    assert len(low_N2) == 4  # cells of 32 pixels, each with half a cell in its middle
    np.testing.assert_allclose(high_N2 - low_N2, 16, atol=1)
    assert high_N2.max() < 64
    assert LookAgain(VerifyConfig(look_again=False))(nobody).shape == (0, 4)


@pytest.mark.slow
def test_a_person_in_the_end_is_redacted(film: Film, tmp_path: Path) -> None:
    """A video of a room in which only the user's own detector reports a person, in the upper left corner."""
    write_smarthome(tmp_path / f"{film.name}_pose3d.json", film.truth)
    _fixed(tmp_path / "fixed.onnx", _yolov8((4, 4, 6, 6, 0.9)))  # even in a blank frame: so it ends there
    outcome = {}
    for name, config in {
        "nobody": VerifyConfig(look_again=False),
        "blank": VerifyConfig(
            detector=tmp_path / "fixed.onnx", detector_side=SIDE, max_blank=1, max_redacted=1
        ),
        "limit": VerifyConfig(detector=tmp_path / "fixed.onnx", detector_side=SIDE),
    }.items():
        pose = PoseConfig(source="smarthome", skeletons=tmp_path, veto=False)
        settings = AnonymizeConfig(workers=0, pose=pose, verify=config)
        (outcome[name],) = anonymize(film.record.path, tmp_path / name, settings, progress=False).rows
    assert outcome["nobody"].status == "done", outcome["nobody"].reason
    assert outcome["blank"].status == "done", outcome["blank"].reason
    assert outcome["limit"].status == "quarantined"
    assert "100% of the frames are blank" in outcome["limit"].reason
    frames = np.stack(list(stream(tmp_path / "blank" / f"{film.name}.mp4")))
    assert np.ptp(frames) <= 4  # one colour, through the codec
