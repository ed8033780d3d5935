"""What a run has spent, written down before it is spent.

The ledger is a text file of JSON lines that is only ever appended to. The first line holds the plan, the
data's fingerprint and the price at the end; every further line announces one step, and is on the disk
before anything of that step is released. Each line carries the hash of the line before it, so a changed,
missing or exchanged line is noticed. (Whoever rewrites the whole file can hide that: the chain guards
against accidents and careless edits, not against the run's owner.)
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raymaskdp import config
from raymaskdp.errors import UserError
from raymaskdp.privacy.keys import Key
from raymaskdp.privacy.plan import PrivacyPlan

FORMAT = 1
_START = "0" * 64


@dataclass(frozen=True, kw_only=True)
class LedgerContent:
    """A ledger as read back.

    Attributes:
      plan: the plan of the run.
      fingerprint: names the data that the run was trained on.
      claimed_epsilon: the price of the whole run at the plan's δ, as computed when it began; None: infinite.
      releases: (key fingerprint, step) of every announced release, in order, repetitions left out. A step
        that is redone with the same key has the same lot and noise and releases nothing new; one redone
        with another key counts again.
    """

    plan: PrivacyPlan
    fingerprint: str
    claimed_epsilon: float | None
    releases: tuple[tuple[str, int], ...]

    @property
    def steps_spent(self) -> int:
        """How many steps the accountant has to compose."""
        return len(self.releases)


class Ledger:
    """The ledger of a run that is under way.

        ledger = Ledger.open("ledger.jsonl", plan=plan, key=key, fingerprint=dataset_sha256)
        ledger.write_ahead(step)        # then, and only then, release the step's update

    One process writes; under several workers, rank 0 writes and the others wait for it.
    """

    def __init__(self, path: Path, key: Key, content: LedgerContent, head: str) -> None:
        self._path = path
        self._key = key
        self._content = content
        self._head = head

    @classmethod
    def open(cls, path: str | Path, *, plan: PrivacyPlan, key: Key, fingerprint: str) -> Ledger:
        """The ledger at `path`, begun when absent; an existing one must have the same plan and data.

        A last line without its end was cut off by a crash before its step was released: it is removed.
        Raises `UserError` if the ledger is damaged, or belongs to another plan or other data.
        """
        path = Path(path)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            price = plan.epsilon()
            claimed = price if math.isfinite(price) else None
            header = {
                "format": FORMAT,
                "plan": config.to_dict(plan),
                "fingerprint": fingerprint,
                "epsilon": claimed,
                "key": key.fingerprint,
            }
            head = _append(path, header, _START)
            _sync_folder(path.parent)
            content = LedgerContent(plan=plan, fingerprint=fingerprint, claimed_epsilon=claimed, releases=())
            return cls(path, key, content, head)
        _drop_torn_line(path)
        content, head = _read(path)
        if content.plan != plan:
            differing = [
                f"{field.name} was {getattr(content.plan, field.name)!r} and is {getattr(plan, field.name)!r}"
                for field in dataclasses.fields(plan)
                if getattr(content.plan, field.name) != getattr(plan, field.name)
            ]
            raise UserError(
                f"The ledger {path} is of another plan ({'; '.join(differing)}); continue with the plan it "
                "was begun with, or start a new run in another folder."
            )
        if content.fingerprint != fingerprint:
            raise UserError(f"The ledger {path} is of other data; start a new run in another folder.")
        return cls(path, key, content, head)

    @property
    def content(self) -> LedgerContent:
        """What has been written so far."""
        return self._content

    def write_ahead(self, step: int) -> None:
        """Announce the release of `step`; on the disk when this returns.

        Raises `UserError` for a step that would skip one, or go past the plan's budget.
        """
        release = (self._key.fingerprint, step)
        if release in self._content.releases:
            return  # redone with the same lot and noise: nothing new is released
        plan = self._content.plan
        reached = max((done for _, done in self._content.releases), default=-1)
        if not 0 <= step <= reached + 1:
            raise UserError(
                f"The ledger {self._path} ends before step {reached + 1}; step {step} would leave a gap."
            )
        if step >= plan.steps or self._content.steps_spent >= plan.steps:
            raise UserError(
                f"The ledger {self._path} has spent the plan's {plan.steps} steps; more would not be private."
            )
        self._head = _append(self._path, {"step": step, "key": self._key.fingerprint}, self._head)
        self._content = dataclasses.replace(self._content, releases=(*self._content.releases, release))


def read_ledger(path: str | Path) -> LedgerContent:
    """The content of a ledger. Raises `UserError` if it is missing, damaged, incomplete or has a gap."""
    return _read(Path(path))[0]


def _read(path: Path) -> tuple[LedgerContent, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read the ledger {path}: {error}.") from error
    if not text.endswith("\n"):
        raise UserError(f"The ledger {path} ends in the middle of a line; resume the run to mend it.")
    head = _START
    entries: list[dict[str, Any]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"Line {number} of the ledger {path} is not JSON.") from error
        if not isinstance(entry, dict) or entry.pop("hash", None) != _hash(entry, head):
            raise UserError(
                f"The ledger {path} was changed: line {number} does not follow from the one before it."
            )
        head = _hash(entry, head)
        entries.append(entry)
    header, *steps = entries
    if header.get("format") != FORMAT:
        raise UserError(
            f"The ledger {path} has the format {header.get('format')!r}; this version reads {FORMAT}."
        )
    releases: list[tuple[str, int]] = []
    reached = -1
    for number, entry in enumerate(steps, start=2):
        step = int(entry["step"])
        if not 0 <= step <= reached + 1:
            raise UserError(
                f"The ledger {path} has a gap: line {number} is step {step} after step {reached}."
            )
        reached = max(reached, step)
        if (release := (str(entry["key"]), step)) not in releases[-1:]:
            releases.append(release)
    content = LedgerContent(
        plan=config.build(PrivacyPlan, header["plan"], where=f"the ledger {path}"),
        fingerprint=header["fingerprint"],
        claimed_epsilon=header["epsilon"],
        releases=tuple(dict.fromkeys(releases)),
    )
    return content, head


def _append(path: Path, entry: dict[str, Any], head: str) -> str:
    digest = _hash(entry, head)
    line = json.dumps({**entry, "hash": digest}, sort_keys=True, allow_nan=False) + "\n"
    with open(path, "a", encoding="utf-8") as opened:
        opened.write(line)
        opened.flush()
        os.fsync(opened.fileno())
    return digest


def _hash(entry: dict[str, Any], head: str) -> str:
    text = json.dumps(entry, sort_keys=True, allow_nan=False)
    return hashlib.sha256(f"{head}\n{text}".encode()).hexdigest()


def _drop_torn_line(path: Path) -> None:
    with open(path, "r+b") as opened:
        content = opened.read()
        whole = content.rfind(b"\n") + 1
        if whole != len(content):
            opened.truncate(whole)
            opened.flush()
            os.fsync(opened.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
