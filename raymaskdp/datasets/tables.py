"""Parquet tables that this project wrote, read back."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from raymaskdp.errors import Damaged


def read_parquet(path: Path) -> pd.DataFrame:
    """The table in a file. Raises `Damaged` for what is torn, empty, or no file."""
    try:
        if not path.is_file():
            raise OSError("it is no file")
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise Damaged(
            f"{path} is damaged, or no table; bring it back from a copy, or move it away."
        ) from error
