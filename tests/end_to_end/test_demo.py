"""The whole path, small: from sample videos to a report, and once more without doing anything twice."""

import base64
import re
from pathlib import Path

import pandas as pd
import pytest
from support.tiny import settings

from raymaskdp.demo import DemoResult, demo
from raymaskdp.errors import UserError
from raymaskdp.report import report
from raymaskdp.report.videos import MAX_STRIPS, WORST

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


def test_every_video_has_a_verdict(finished: tuple[Path, DemoResult]) -> None:
    folder, result = finished
    manifest = pd.read_parquet(folder / "anonymized/manifest.parquet")
    sources = pd.read_parquet(folder / "private/manifest.parquet")
    assert set(manifest.video_id) == set(sources.video_id)
    counts = manifest.status.value_counts()
    assert (result.anonymized, result.quarantined, result.failed) == tuple(
        counts.get(status, 0) for status in ("done", "quarantined", "failed")
    )
    assert result.anonymized > 0
    assert result.failed == 0
    for row in manifest.itertuples():
        written = {path.name for path in (folder / "anonymized").glob(f"{row.video_id}.*")}
        wanted = {f"{row.video_id}{suffix}" for suffix in (".mp4", ".avatar.mp4", ".npz", ".json")}
        assert written == (wanted if row.status == "done" else set())


def test_the_report_holds_everything_and_asks_for_nothing(finished: tuple[Path, DemoResult]) -> None:
    folder, result = finished
    page = Path(result.report).read_text()
    assert all(
        f'id="{part}"' in page for part in ("videos", "frontier", "training", "guarantee", "reproduce")
    )
    assert "ε = 4" in page
    assert "Delta against epsilon by both accountants" in page
    assert re.search(r"misses of a test between adjacent data sets</td><td>\d+\.\d% at least", page)
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!data:|#|report-files/players/)", page)
    assert "url(" not in page
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    # Source and output of some videos, and of the worst ones.
    assert len(pictures) == 2 * (min(result.anonymized, MAX_STRIPS) + min(result.anonymized, WORST))
    assert all(base64.b64decode(picture).startswith(b"\xff\xd8") for picture in pictures)
    for video in pd.read_parquet(folder / "anonymized/manifest.parquet").video_id:
        assert video in page


def test_sources_are_shown_only_when_asked_for(finished: tuple[Path, DemoResult], tmp_path: Path) -> None:
    folder, result = finished
    report(folder, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/jpeg") == min(result.anonymized, MAX_STRIPS) + min(result.anonymized, WORST)
    with_sources = re.findall(
        r'src="(data:image/jpeg[^"]+)" alt="Six frames of the source', Path(result.report).read_text()
    )
    assert with_sources
    assert not any(picture in page for picture in with_sources)


def test_no_secret_and_no_video_of_the_sources_is_published(finished: tuple[Path, DemoResult]) -> None:
    folder, _ = finished
    keys = [path.read_bytes() for path in folder.rglob("key")]
    keys += [path.read_bytes() for path in folder.glob(".*secret")]
    assert keys
    for path in [*(folder / "anonymized").iterdir(), *folder.glob("*.html"), *folder.rglob("*.json*")]:
        if path.is_file():
            content = path.read_bytes()
            assert not any(key in content or key.hex().encode() in content for key in keys), path


def test_again_does_nothing_again(finished: tuple[Path, DemoResult]) -> None:
    folder, result = finished
    before = {
        path: path.stat().st_mtime_ns for path in (folder / "anonymized").iterdir() if path.suffix == ".mp4"
    }
    again = demo(folder, settings())
    assert (again.anonymized, again.epsilon, again.accuracy) == (
        result.anonymized,
        result.epsilon,
        result.accuracy,
    )
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_folder_without_results_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no outputs"):
        report(tmp_path)
