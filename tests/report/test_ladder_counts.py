"""What the report says of the ladder: shares, reasons, and the frames that are worst."""

import json
from pathlib import Path

import pandas as pd
import pytest

from raymaskdp.report.ladder_counts import below_avatars, rungs, worst_frames


def measured(*videos: dict) -> pd.DataFrame:
    return pd.json_normalize(list(videos))


def people(avatars: int, silhouettes: int = 0, background: int = 0) -> dict[str, int]:
    return {"avatars": avatars, "silhouettes": silhouettes, "background": background, "filled": 0, "blank": 0}


def test_person_frames_and_reasons_are_added_up() -> None:
    table = measured(
        {"person_frames": people(60, 20), "doubts": {"too faint": 3}, "unposed": {"no body fits": 20}},
        {"person_frames": people(20, 0, 0), "doubts": {}, "unposed": {"no body fits": 0}},
        {"person_frames": people(0, 0, 100), "doubts": {"too faint": 97}},
    )
    found = rungs(table)
    assert found is not None
    assert [(row.person_frames, row.share) for row in found.rows] == [
        (80, "40.0 %"),
        (20, "10.0 %"),
        (100, "50.0 %"),
    ]
    assert found.reasons == (("too faint", 100), ("no body fits", 20))
    assert below_avatars(table).tolist() == pytest.approx([0.25, 0, 1])


def test_nobody_has_no_rungs() -> None:
    assert rungs(measured({"person_frames": people(0)})) is None
    assert rungs(measured({"surviving_pixels": 0})) is None
    assert below_avatars(measured({"person_frames": people(0)})).isna().all()


def test_the_worst_frames_are_shown(tmp_path: Path) -> None:
    counts = {name: [0] * 30 for name in ("silhouettes", "background", "filled", "blank")}
    counts["silhouettes"][3] = counts["blank"][17] = 1
    counts["background"][18] = 1  # less than a blank frame, in the same stretch
    provenance = tmp_path / "v.json"
    provenance.write_text(json.dumps({"frames": counts}))
    assert worst_frames(provenance, 30, 3) == [3, 17, 24]
    assert worst_frames(tmp_path / "gone.json", 30, 3) == [4, 14, 24]
    assert worst_frames(provenance, 30, 100) == list(range(30))
