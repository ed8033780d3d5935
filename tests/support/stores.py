"""Clip stores that tests change by hand, made whole again."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from raymaskdp.files import sha256_file
from raymaskdp.train.data.store import TABLE


def write_videos(store: Path, table: pd.DataFrame, **about: object) -> None:
    """Another table for a store, and what else its description says of it."""
    table.to_parquet(store / "videos.parquet", index=False)
    before = json.loads((store / "store.json").read_text())
    digest = sha256_file(store / "videos.parquet")
    (store / "store.json").write_text(json.dumps({**before, **about, TABLE: digest}))
