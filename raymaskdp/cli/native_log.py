"""Filter the standard error of native libraries: chatter is removed, everything else is passed on.

MediaPipe, LiteRT, absl and Ray write lines such as `INFO: [accelerator_registry.cc:43] DestroyAccelerator …`
to file descriptor 2, and have no switch for it. Python's own output is not filtered here.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import select
import signal
import sys

from raymaskdp import events

CHATTER = re.compile(
    rb"(INFO|WARNING|VERBOSE): \[[\w./+-]+\.(cc|cpp|h|mm):\d+\]"  # LiteRT
    rb"|[IW]\d{4,8} \d\d:\d\d.*? [\w./+-]+\.(cc|cpp|h|mm):\d+\]"  # absl and glog
    rb"|\[[\d-]+ [\d:,]+ [IWD] \d+ \d+\] (\(\w+\) )?[\w./+-]+\.(cc|h):\d+:"  # Ray
    rb"|\[[\d-]+ [\d:,]+ E \d+ \d+\] core_worker\.cc:\d+: Actor with class name: .*"
    rb" has constructor arguments in the object store"
    rb"|WARNING: Logging before InitGoogle\(\) is written to STDERR"
    rb"|WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR"
    rb"|INFO: Created TensorFlow Lite XNNPACK delegate for CPU"
)
"""Beginnings of lines without useful information for users. Errors and crashes begin differently."""

SEVERITY = re.compile(rb"(?:INFO|WARNING|VERBOSE): ")
REST = re.compile(rb"$|\[[\w./+-]+\.(cc|cpp|h|mm):\d+\]|Created TensorFlow Lite XNNPACK delegate for CPU")
"""LiteRT writes a severity, a message and the end of the line separately. If several processes write at once,
one line begins with the severities of others, whose messages or ends follow as lines without one."""

WAIT_S = 0.5
"""How long an incomplete line is held."""


def keep_chatter_out() -> None:
    """Remove native chatter from this process's standard error from now on, unless `RAYMASKDP_LOG=native`.

    A small separate process passes lines on, so that the last messages of a crashing process arrive. It ends
    with the last process that writes to it. To be called at the start of a program: `sys.stderr` is replaced,
    and no threads may run yet.
    """
    if os.environ.get(events.VARIABLE) == "native":
        return
    sys.stderr.flush()
    reading, writing = os.pipe()
    terminal = os.dup(2)
    if os.fork() == 0:
        try:
            os.close(writing)
            _pass_on(reading, terminal)
        finally:
            os._exit(0)
    os.close(reading)
    os.dup2(writing, 2)
    os.close(writing)
    os.set_inheritable(terminal, False)
    sys.stderr = sys.__stderr__ = io.TextIOWrapper(  # type: ignore[misc]
        os.fdopen(terminal, "wb", 0), encoding="utf-8", errors="backslashreplace", write_through=True
    )


class Chatter:
    """Distinguishes lines of chatter from others, in the order in which they are written."""

    def __init__(self) -> None:
        self._owed = 0

    def has(self, line: bytes) -> bool:
        """Whether a line is chatter, or the rest of a line of chatter that another process interrupted."""
        begin = 0
        while (first := SEVERITY.match(line, begin)) and SEVERITY.match(line, first.end()):
            begin = first.end()
        if CHATTER.match(line, begin):
            self._owed += max(0, len(SEVERITY.findall(line)) - 1)
            return True
        if self._owed and REST.match(line):
            self._owed -= 1
            return True
        return False


def _pass_on(reading: int, terminal: int) -> None:
    """Copy lines that are not chatter until the last writer closes; holds no other file open."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it ends after the last writer
    for other in (0, 1, 2):
        if other not in (reading, terminal):
            with contextlib.suppress(OSError):
                os.close(other)
    waiting, chatter = b"", Chatter()
    while True:
        ready, _, _ = select.select([reading], [], [], WAIT_S if waiting else None)
        content = os.read(reading, 65_536) if ready else b""
        *lines, waiting = (waiting + content).split(b"\n")
        kept = b"".join(line + b"\n" for line in lines if not chatter.has(line))
        if not content and not CHATTER.match(waiting):
            kept, waiting = kept + waiting, b""
        while kept:
            kept = kept[os.write(terminal, kept) :]
        if ready and not content:
            return
