"""Numbers that may be infinite, such as the ε of a run without noise, in tables and JSON."""

from __future__ import annotations

import math


def finite_or_none(value: float) -> float | None:
    """The value if it is a finite number; None otherwise."""
    return value if math.isfinite(value) else None
