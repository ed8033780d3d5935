"""The report: what it says, that it is one file, and that ten thousand videos are no trouble to a browser."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raymaskdp import cli, config
from raymaskdp.anonymize.item import Decided, Status
from raymaskdp.anonymize.output import manifest
from raymaskdp.anonymize.output.manifest import Row
from raymaskdp.audit import TrainingAudit
from raymaskdp.audit.attacks.canaries import CanaryTest
from raymaskdp.audit.attacks.inversion import Inversion
from raymaskdp.audit.counts import count
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError
from raymaskdp.files import sha256_file, write_json
from raymaskdp.report import report
from raymaskdp.video.reader import VideoInfo, probe, read_frames
from raymaskdp.video.writer import VideoWriter

T, H, W = 3, 48, 80
MANY = 10_000
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


def row(number: int, status: Status = "done", **metrics: float) -> Row:
    record = VideoRecord(
        video_id=f"v{number:05d}", path="gone.mp4", label=f"action {number % 7}", split="train"
    )
    info = VideoInfo(width=W, height=H, fps=Fraction(10), num_frames=T)
    reasons = ("a face outside all people found (frame 3)",) if status == "quarantined" else ()
    item = Decided(
        record=record,
        status=status,
        reasons=reasons,
        info=info,
        source_sha256="s",
        num_people=1,
        metrics=metrics,
    )
    return manifest.row_of(item, "c")


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ten thousand videos: one file stands for all that were written."""
    folder = tmp_path_factory.mktemp("many") / "anonymized"
    folder.mkdir()
    with VideoWriter(folder / "v.mp4", width=W, height=H, fps=10) as writer:
        for _ in range(T):
            writer.write(np.full((H, W, 3), (0, 128, 0), np.uint8))
    rows = []
    for number in range(MANY):
        status: Status = "quarantined" if number % 20 == 3 else "done"
        made = row(number, status, surviving_pixels=0, background_psnr=30 + number % 11)
        rows.append(replace(made, path="v.mp4") if status == "done" else made)
    manifest.write_manifest(folder, rows)
    report(folder.parent)
    return folder.parent


def dump(page: Path) -> str:
    """The page as Chromium has it after its scripts ran."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=2000",
        "--dump-dom",
    ]
    return subprocess.run(
        [*command, page.as_uri()], capture_output=True, text=True, check=True, timeout=120
    ).stdout


def test_ten_thousand_videos_are_a_small_page_of_few_rows(many: Path) -> None:
    page = many / "report.html"
    assert page.stat().st_size < 5e6
    text = page.read_text()
    assert text.count("<tr>") < 60
    rows = json.loads(re.search(r'<script type="application/json">(.*?)</script>', text, re.S)[1])
    assert len(rows) == MANY
    assert rows[3][:3] == ["v00003", "quarantined", "a face outside all people found (frame 3)"]


def test_the_page_asks_no_network_and_names_its_parts(many: Path) -> None:
    text = (many / "report.html").read_text()
    assert "http" not in text.replace("http://www.w3.org", "")
    assert re.search(r'(?:src|href)="(?!data:image/|#|report-files/players/\d+\.mp4")', text) is None
    assert text.count("<video ") == text.count('preload="none"') == text.count('aria-label="After:') > 0
    assert "Before:" not in text  # sources are not shown unless asked for
    players = sorted((many / "report-files" / "players").glob("*.mp4"))
    assert len(players) <= 10
    assert probe(players[0]).num_frames == T
    assert all("alt=" in tag for tag in re.findall(r"<img [^>]*>", text))
    assert re.search(r'<a class="skip" href="#decision">', text)
    assert "prefers-color-scheme: dark" in text
    for target in re.findall(r'href="#([^"]+)"', text):
        assert f'id="{target}"' in text


def test_colours_can_be_read_in_light_and_dark(many: Path) -> None:
    """Every colour of text on every ground has a contrast of 4.5 at least (WCAG 2.1, level AA)."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        channels = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    schemes = re.findall(r":root \{(.*?)\}", (many / "report.html").read_text(), re.S)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--(\w+):(#\w+)", scheme))
        for text in ("ink", "soft", "good", "warn", "bad", "accent"):
            for ground in ("paper", "card"):
                light, dark = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground, colours[text])


def test_leaks_are_counted_with_their_bound(many: Path) -> None:
    text = (many / "report.html").read_text()
    # 9500 written, none with surviving pixels: at most 3 / 9500 = 0.032 %.
    found = re.search(r"surviving under a mask</td>(.*?)</tr>", text, re.S)
    assert re.findall(r">([^<]+)</td>", found[1]) == ["0", "9500", "0.032 %"]


def test_a_leak_is_an_alarm(tmp_path: Path) -> None:
    folder = tmp_path / "anonymized"
    folder.mkdir()
    manifest.write_manifest(folder, [row(1, "quarantined")])
    canary = CanaryTest(
        program="broken: no noise",
        canaries="whole records",
        expected="caught",
        claimed=0.9,
        at_least=4.5,
        delta=0.01,
        noise=0.0,
        as_expected=True,
    )
    audited = TrainingAudit(
        folder="audit",
        run=None,
        canaries=(canary,),
        membership=(),
        inversion=Inversion(not_private=80.0, private=11.0, noise_multiplier=1.0, clipping_norm=1.0),
        findings=("ε <b>leaks</b>",),
    )
    write_json(tmp_path / "somebody's" / "audit.json", {"of": "another kind"})
    write_json(tmp_path / "audit" / "audit.json", {"kind": "training", **config.to_dict(audited)})
    text = Path(report(tmp_path).path).read_text()
    assert "Leaks were found" in text
    assert "ε &lt;b&gt;leaks&lt;/b&gt;" in text
    assert "broken: no noise" in text


def test_players_are_beside_the_page_or_in_it_and_none_is_left_over(tmp_path: Path) -> None:
    folder, source = tmp_path / "anonymized", tmp_path / "s.mp4"
    folder.mkdir()
    for path, colour in ((folder / "v.mp4", (0, 128, 0)), (source, (200, 0, 0))):
        with VideoWriter(path, width=W, height=H, fps=10) as writer:
            for _ in range(T):
                writer.write(np.full((H, W, 3), colour, np.uint8))
    manifest.write_manifest(
        folder, [replace(row(1), path="v.mp4", source=str(source), source_sha256=sha256_file(source))]
    )
    players = tmp_path / "report-files" / "players"
    text = Path(report(tmp_path, show_sources=True).path).read_text()
    assert re.findall(r'<video src="([^"]+)"', text) == [
        f"report-files/players/{name}.mp4" for name in ("001", "002")
    ]
    assert "Play both" in text
    red, green = (read_frames(path, [0])[0, 0, 0] for path in sorted(players.glob("*.mp4")))
    assert red[0] > 150 > green[0]
    report(tmp_path)
    assert [path.name for path in players.glob("*.mp4")] == ["001.mp4"]  # no copy of a source stays behind
    text = Path(report(tmp_path, embed_videos=True).path).read_text()
    assert re.findall(r'<video src="(data:video/mp4;base64,)', text) == ["data:video/mp4;base64,"]
    assert not players.exists()


def test_tables_are_files_too(many: Path) -> None:
    table = pd.read_csv(many / "report-files" / "videos-anonymized.csv")
    assert len(table) == MANY
    assert "source" not in table


@pytest.mark.slow
def test_a_browser_shows_a_page_of_the_table_at_once(many: Path, tmp_path: Path) -> None:
    drawn = dump(many / "report.html")
    assert "1 to 25 of 10000" in drawn
    assert drawn.count('<td class="quarantined">') + drawn.count('<td class="done">') == 25
    # What the keyboard and the filter do, played by a script on a copy, and how long loading took.
    copy = tmp_path / "copy.html"
    play = """<script>addEventListener("load", () => setTimeout(() => {
      const status = document.querySelector("[data-role=status]");
      status.value = "quarantined"; status.dispatchEvent(new Event("change"));
      document.querySelector("[data-role=on]").click();
      document.body.dataset.loaded = performance.timing.loadEventEnd - performance.timing.navigationStart;
    }, 0));</script>"""
    copy.write_text((many / "report.html").read_text() + play)
    drawn = dump(copy)
    assert "26 to 50 of 500" in drawn
    assert int(re.search(r'data-loaded="(\d+)"', drawn)[1]) < 2000


@pytest.mark.parametrize(
    ("found", "trials", "low", "high"), [(0, 100, 0.0290, 0.0300), (0, 3000, 0.00099, 0.001), (3, 3, 1, 1)]
)
def test_nothing_found_is_no_proof(found: int, trials: int, low: float, high: float) -> None:
    assert low <= count("x", found, trials).at_most <= high


def test_a_run_is_compared_with_its_plan(tmp_path: Path) -> None:
    folder = tmp_path / "anonymized"
    folder.mkdir()
    with VideoWriter(folder / "v.mp4", width=W, height=H, fps=10) as writer:
        for _ in range(T):
            writer.write(np.zeros((H, W, 3), np.uint8))
    made = [replace(row(n, seconds_pose=2.0, seconds_fit=1.0), path="v.mp4") for n in range(4)]
    manifest.write_manifest(folder, [*made, row(4, "quarantined", seconds_pose=50.0)])
    page = tmp_path / "report.html"
    report(tmp_path)
    assert "One worker took 0.00333 hours for 12 frames, 1 a second." in page.read_text()
    write_json(folder / "cost-plan.json", {"frames_per_second": 2.0, "shares": {"pose": 0.5, "fit": 0.5}})
    report(tmp_path)
    text = " ".join(page.read_text().split())
    assert "the estimate was 2 a second, 2.00 times as many" in text
    cells = re.findall(r"<tr><td>pose</td>(.*?)</tr>", text)
    assert re.findall(r">([^<]+)</td>", cells[0]) == ["1.5", "67%", "4", "50%"]
    write_json(folder / "cost-plan.json", [])
    with pytest.raises(UserError, match="is not an estimate"):
        report(tmp_path)


def test_a_sweep_of_another_version_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "old" / "sweep.json", {"result": {"trials": 1}})
    with pytest.raises(UserError, match=r"old was written by another version, without .published"):
        report(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "has no outputs" in capsys.readouterr().err
