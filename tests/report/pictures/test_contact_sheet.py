"""The contact sheet shows what was written, and sources only to those who ask for them."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from raymaskdp.anonymize.item import Decided, Status
from raymaskdp.anonymize.output import manifest
from raymaskdp.anonymize.output.manifest import Row
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError
from raymaskdp.files import sha256_file
from raymaskdp.report.pictures.contact_sheet import sheet
from raymaskdp.video.masks import pack
from raymaskdp.video.reader import VideoInfo
from raymaskdp.video.writer import VideoWriter

T, H, W = 5, 48, 64
BLUE, GREEN, YELLOW = (0, 0, 255), (0, 255, 0), (255, 255, 0)


def write(path: Path, colour: tuple[int, int, int]) -> None:
    with VideoWriter(path, width=W, height=H, fps=10) as writer:
        for _ in range(T):
            writer.write(np.full((H, W, 3), colour, np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "source.mp4", BLUE)
    write(tmp_path / "a.mp4", GREEN)
    write(tmp_path / "a.avatar.mp4", YELLOW)
    mask_HW = np.zeros((H, W), bool)
    mask_HW[10:40, 20:40] = True
    masks_TB = np.tile(pack(mask_HW), (T, 1))
    np.savez(tmp_path / "a.npz", person_masks=masks_TB, avatar_masks=masks_TB, height=H, width=W)
    manifest.write_manifest(tmp_path, [row(tmp_path, "a", "done"), row(tmp_path, "b", "quarantined")])
    return tmp_path


def row(folder: Path, name: str, status: Status) -> Row:
    record = VideoRecord(video_id=name, path=str(folder / "source.mp4"))
    info = VideoInfo(width=W, height=H, fps=Fraction(10), num_frames=T)
    digest = sha256_file(record.path)
    return manifest.row_of(Decided(record=record, status=status, info=info, source_sha256=digest), "c")


def share(picture: Path, colour: tuple[int, int, int]) -> float:
    image = cv2.imread(str(picture))[..., ::-1].astype(int)
    return float((np.abs(image - colour).max(-1) < 60).mean())


def test_sources_are_shown_only_when_asked_for(folder: Path) -> None:
    result = sheet(folder, folder / "plain.png", frames=3)
    assert result.videos == ("a",)
    assert share(folder / "plain.png", BLUE) == 0
    assert share(folder / "plain.png", GREEN) > 0.15
    assert share(folder / "plain.png", YELLOW) > 0.02
    sheet(folder, folder.with_name(f"{folder.name}-whole.png"), frames=3, show_sources=True)
    assert share(folder.with_name(f"{folder.name}-whole.png"), BLUE) > 0.15


def test_what_cannot_be_drawn_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="endings"):
        sheet(folder, folder / "sheet.pdf")
    with pytest.raises(UserError, match=r"manifest\.parquet"):
        sheet(folder / "nowhere", folder / "sheet.png")
    manifest.write_manifest(folder, [row(folder, "b", "failed")])
    with pytest.raises(UserError, match="nothing to show"):
        sheet(folder, folder / "sheet.png")
