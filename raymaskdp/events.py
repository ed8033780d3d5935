"""Events of a run for log collectors: one JSON object a line on standard error, if `RAYMASKDP_LOG=json`.

An event has the time (UTC), a name and figures: names of videos and verdicts, counts and seconds. The reasons
of a quarantine, labels, subjects and paths stay in the manifest, which is the owner's.
"""

from __future__ import annotations

import datetime
import json
import os
import sys

VARIABLE = "RAYMASKDP_LOG"


def wanted() -> bool:
    """Whether events are written; progress bars are then omitted."""
    return os.environ.get(VARIABLE) == "json"


def write(event: str, **figures: str | int | float) -> None:
    """Write one event, if events are enabled."""
    if wanted():
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        print(json.dumps({"time": now, "event": event, **figures}), file=sys.stderr, flush=True)
