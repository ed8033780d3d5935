"""What a run says to log collectors: one JSON object a line on standard error, if `RAYMASKDP_LOG=json`.

An event has the time (UTC), a name and figures: names of videos and verdicts, counts and seconds. Why a
video was quarantined, its labels, its subject and its path stay in the manifest, which is the owner's.
"""

from __future__ import annotations

import datetime
import json
import os
import sys

VARIABLE = "RAYMASKDP_LOG"


def wanted() -> bool:
    """Whether events are to be written; bars that people watch are then left out."""
    return os.environ.get(VARIABLE) == "json"


def write(event: str, **figures: str | int | float) -> None:
    """Write one event, if events are wanted."""
    if wanted():
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        print(json.dumps({"time": now, "event": event, **figures}), file=sys.stderr, flush=True)
