"""Quarantined videos are reviewed, released or dropped by name, and processed again only after a release."""

import dataclasses
import json
import stat
from pathlib import Path

import pytest
from support.formats import Truth, write_smarthome

from raymaskdp import cli
from raymaskdp.anonymize import AnonymizeConfig, anonymize
from raymaskdp.anonymize.item import Decided, Status
from raymaskdp.anonymize.output import decisions, manifest
from raymaskdp.anonymize.output.manifest import Row
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.anonymize.verify.config import VerifyConfig
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError
from raymaskdp.report.review import review
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize

WHO = {"by": "A. Reviewer", "because": "a poster, nobody"}


@pytest.mark.slow
def test_a_released_video_is_done_again_and_a_dropped_one_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = SynthesizeConfig(people=2, actions=("wave",), rooms=1, cameras=1, frames=8, test_share=0.5)
    synthesize(tmp_path / "sample", config)
    out, poses = tmp_path / "out", tmp_path / "poses"
    poses.mkdir()
    for truth in (tmp_path / "sample" / "truth").glob("*.npz"):
        late(poses / f"{truth.stem}_pose3d.json", Truth(truth), 5)
    # A skeleton that begins in the middle of the room: a doubt, which a reviewer may judge.
    pose = PoseConfig(source="smarthome", skeletons=poses, veto=False)
    settings = AnonymizeConfig(
        workers=0, pose=pose, verify=VerifyConfig(look_again=False, max_redacted=1), on_doubt="quarantine"
    )
    first = anonymize(tmp_path / "sample", out, settings, progress=False)
    assert first.quarantined == 2
    one, two = (row.video_id for row in first.rows)

    assert cli.main(["review", str(out), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    page = Path(shown["page"])
    assert page.parent == tmp_path
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    text = page.read_text()
    assert text.count("data:image/jpeg") == 2 * 3  # the frames before it, for a quarter of a second
    assert "a skeleton appears inside the frame (frames 1, 2, 3)" in text
    assert "http" not in text.replace("http://www.w3.org", "")

    review(out, release=[one], **WHO)
    result = review(out, drop=[two], **WHO)
    assert (result.quarantined, result.undecided) == (2, 0)

    second = anonymize(tmp_path / "sample", out, settings, progress=False)
    by_id = {row.video_id: row for row in second.rows}
    assert (by_id[one].status, by_id[two].status) == ("done", "quarantined")
    assert second.reused == 1
    provenance = json.loads((out / f"{one}.json").read_text())
    assert any("appears inside" in reason for reason in provenance["released"])
    assert not (out / f"{two}.mp4").exists()
    # The decision holds when its files have to be made again, in the same run.
    (out / f"{one}.avatar.mp4").write_bytes(b"damaged")
    healed = anonymize(tmp_path / "sample", out, settings, progress=False)
    assert (healed.done, healed.quarantined, healed.reused) == (1, 1, 1)
    assert anonymize(tmp_path / "sample", out, settings, progress=False).reused == 2

    # Another configuration is another question.
    other = dataclasses.replace(settings, pose=dataclasses.replace(pose, dilation=0.03))
    assert anonymize(tmp_path / "sample", tmp_path / "out", other, progress=False).quarantined == 2


def late(path: Path, truth: Truth, first: int) -> None:
    """Skeletons of a video without those before frame `first`."""
    write_smarthome(path, truth)
    stored = json.loads(path.read_text())
    stored["frames"][:first] = [[]] * first
    path.write_text(json.dumps(stored))


def row(status: Status = "quarantined", reason: str = "a; b") -> Row:
    item = Decided(record=VideoRecord(video_id="v", path="v.mp4"), status=status, source_sha256="s")
    return dataclasses.replace(manifest.row_of(item, "c"), reason=reason)


def test_a_release_is_for_what_was_looked_at(tmp_path: Path) -> None:
    manifest.write_manifest(tmp_path, [row()])
    decisions.enter(tmp_path, row(), "release", **WHO)
    record = decisions.read(tmp_path)
    assert decisions.accepted(record, row()) == ("a", "b")
    assert decisions.overruled(("a", "b"), row())
    assert not decisions.overruled(("a", "b"), row(reason="c"))  # a new doubt is not done again in vain
    assert decisions.accepted(record, dataclasses.replace(row(), source_sha256="other")) == ()
    assert decisions.accepted(record, dataclasses.replace(row(), config_sha256="other")) == ()
    decisions.enter(tmp_path, row(), "drop", **WHO)
    assert decisions.accepted(decisions.read(tmp_path), row()) == ()
    assert len(decisions.read(tmp_path)) == 2  # nothing is taken off the record


def test_decisions_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no manifest"):
        review(tmp_path)
    manifest.write_manifest(tmp_path, [row()])
    with pytest.raises(UserError, match="a name and a reason"):
        review(tmp_path, release=["v"])
    with pytest.raises(UserError, match="no video 'w'"):
        review(tmp_path, release=["w"], **WHO)
    with pytest.raises(UserError, match="both"):
        review(tmp_path, release=["v"], drop=["v"], **WHO)
    with pytest.raises(UserError, match="not quarantined"):
        decisions.enter(tmp_path, row(status="done"), "drop", **WHO)
    (tmp_path / decisions.DECISIONS).write_text("{}\n")
    with pytest.raises(UserError, match="Line 1"):
        decisions.read(tmp_path)
