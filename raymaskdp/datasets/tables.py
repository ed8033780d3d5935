"""Read Parquet tables that this project wrote."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from raymaskdp.errors import Damaged


def read_parquet(path: Path) -> pd.DataFrame:
    """The table in a file. Raises `Damaged` for an incomplete or empty one, or for another kind of file."""
    try:
        if not path.is_file():
            raise OSError("it is not a file")
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise Damaged(
            f"{path} is damaged, or not a table; restore it from a copy, or move it away."
        ) from error
