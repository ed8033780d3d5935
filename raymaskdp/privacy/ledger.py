"""The privacy that a run has spent, recorded before each release.

The ledger is an append-only text file of JSON lines. The first line has the plan and the
price at the end. A line for every session, which is a process that trains, holds its key's fingerprint, a
commitment to the data and the circumstances that decide how sums are rounded. Every further line announces
one step, and is on the disk before anything of that step is released. Each line carries the hash of the line
before it, so a changed, missing or exchanged line is detected. (A rewrite of the whole file can hide that:
the chain protects against accidents and careless edits, not against the run's owner.)

Nothing here is a function of private data: the commitment is a keyed hash, which only the owner of the run's
key can check (`Key.commit`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from raymaskdp import config
from raymaskdp.check import finite_or_none
from raymaskdp.errors import Damaged, UserError
from raymaskdp.files import cut_torn_line, make_folder
from raymaskdp.places import LocalPath
from raymaskdp.privacy.keys import Key
from raymaskdp.privacy.plan import PrivacyPlan

FORMAT = 2
T = TypeVar("T")
_START = "0" * 64

Release = tuple[str, int]
"""Fingerprint of the key whose lot and noise were used, and the step."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """A process that trained.

    Attributes:
      key: fingerprint of its key.
      data: its commitment to the data, under that key.
      circumstances: what affects the rounding of sums, such as versions; equal ones repeat a step exactly.
      made_by: fingerprint of the key that the weights at its start were made with; "" for initial weights.
    """

    key: str
    data: str
    circumstances: dict[str, str] = field(default_factory=dict)
    made_by: str = ""


@dataclass(frozen=True, kw_only=True)
class _Header:
    """The first line of a ledger."""

    format: int
    plan: PrivacyPlan
    epsilon: float | None


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A line that announces a step, with the clipping norm if it adapts."""

    step: int
    key: str
    clipping_norm: float | None = None


@dataclass(frozen=True, kw_only=True)
class LedgerContent:
    """A ledger as read back.

    Attributes:
      plan: the plan of the run.
      claimed_epsilon: the price of the whole run at the plan's δ, as computed at its start; None: infinite.
      sessions: the processes that trained, in order.
      releases: every announced release, in order, without repetitions, and the number of its session. A
        step repeated with the same key has the same lot and noise and releases nothing new; one repeated
        with another key counts again.
      norms: the clipping norm of every release, if it adapts; else empty.
    """

    plan: PrivacyPlan
    claimed_epsilon: float | None
    sessions: tuple[Session, ...]
    releases: Mapping[Release, int]
    norms: Mapping[Release, float] = field(default_factory=dict)

    @property
    def steps_spent(self) -> int:
        """Number of steps that the accountant must compose."""
        return len(self.releases)

    def is_of(self, fingerprint: str, key: Key) -> bool | None:
        """Whether the run was on the data with this fingerprint; None if `key` is of no session."""
        found = [(one, mine) for one in self.sessions if (mine := _own_key(one, key, self.sessions))]
        return all(mine.commit("data", fingerprint) == one.data for one, mine in found) if found else None


class Ledger:
    """The ledger of a run in progress.

        ledger = Ledger.open("ledger.jsonl", plan=plan, key=key, fingerprint=dataset_sha256)
        ledger.write_ahead(step)        # then, and only then, release the step's update

    One process writes; under several workers, rank 0 writes and the others wait for it. Lots and noise must
    be drawn from `ledger.key`, which is of another attempt if repeated steps may differ.
    """

    def __init__(
        self, path: Path, key: Key, content: LedgerContent, head: str, start: int, attempt: int
    ) -> None:
        self._path = path
        self._head = head
        self._plan = content.plan
        self._sessions = content.sessions
        self._claimed = content.claimed_epsilon
        self._releases = dict(content.releases)
        self._norms = dict(content.norms)
        self._reached = max((step for _, step in self._releases), default=-1)
        own = [step for fingerprint, step in self._releases if fingerprint == key.fingerprint]
        self.key = key
        self.attempt = attempt
        """Number of the attempt of `key`: `Key.attempt` of the run's key."""
        self.redone = len(self._releases) - len(own) - min(own, default=start)
        """Number of releases beyond a step's own and those of the steps before it."""

    @classmethod
    def open(
        cls,
        path: LocalPath,
        *,
        plan: PrivacyPlan,
        key: Key,
        fingerprint: str,
        start: int = 0,
        circumstances: Mapping[str, str] | None = None,
        made_by: str = "",
    ) -> Ledger:
        """The ledger at `path`, created if absent; an existing one must have the same plan and data.

        An incomplete last line was cut off by a crash before its step was released: it is removed.
        Raises `UserError` if the ledger is damaged, or belongs to another plan or other data.

        Args:
          key: the run's key. What is to be used is `Ledger.key`: another attempt, if steps from `start` on
            were announced before under other `circumstances`, or with weights of another attempt.
          fingerprint: identifies the data. It is not stored; the ledger has only a commitment to it.
          start: the first step of this session.
          made_by: as in `Session`.
        """
        path, circumstances = Path(path), dict(circumstances or {})
        if path.exists():
            cut_torn_line(path)
        if not path.exists() or not path.stat().st_size:
            make_folder(path.parent)
            claimed = finite_or_none(plan.epsilon())
            _append(path, {"format": FORMAT, "plan": config.to_dict(plan), "epsilon": claimed}, _START)
            sync_folder(path.parent)
        content, head = _read(path)
        _require_same_plan(path, content.plan, plan)
        if content.is_of(fingerprint, key) is False:
            raise UserError(f"The ledger {path} is of other data; start a new run in another folder.")
        attempt = _attempt(content, key, start, circumstances, made_by)
        used = key.attempt(attempt)
        session = Session(
            key=used.fingerprint,
            data=used.commit("data", fingerprint),
            circumstances=circumstances,
            made_by=made_by,
        )
        if session not in content.sessions[-1:]:
            head = _append(path, {"session": dataclasses.asdict(session)}, head)
            content = dataclasses.replace(content, sessions=(*content.sessions, session))
        return cls(path, used, content, head, start, attempt)

    @property
    def content(self) -> LedgerContent:
        """What has been written so far."""
        return LedgerContent(
            plan=self._plan,
            claimed_epsilon=self._claimed,
            sessions=self._sessions,
            releases=dict(self._releases),
            norms=dict(self._norms),
        )

    def write_ahead(self, step: int, *, clipping_norm: float | None = None) -> None:
        """Announce the release of `step`; on the disk when this returns.

        Raises `UserError` for a step that would skip one, or go past the plan's budget, or be redone with
        the same noise and another clipping norm.

        Args:
          clipping_norm: the one in force, where it adapts.
        """
        release = (self.key.fingerprint, step)
        if release in self._releases:
            if self._norms.get(release) != clipping_norm:
                raise UserError(
                    f"Step {step} was announced in the ledger {self._path} with the clipping norm "
                    f"{self._norms.get(release)} and would be redone with {clipping_norm}, under the same "
                    "noise; start a new run in another folder, and count this one."
                )
            return  # repeated with the same lot and noise: nothing new is released
        if not 0 <= step <= self._reached + 1:
            raise UserError(
                f"The ledger {self._path} ends before step {self._reached + 1}; "
                f"step {step} would leave a gap."
            )
        if step >= self._plan.steps or len(self._releases) >= self._plan.steps:
            raise UserError(
                f"The ledger {self._path} has spent the plan's {self._plan.steps} steps; more would not be "
                "private."
            )
        entry: dict[str, Any] = {"step": step, "key": self.key.fingerprint}
        if clipping_norm is not None:
            self._norms[release] = entry["clipping_norm"] = clipping_norm
        self._head = _append(self._path, entry, self._head)
        self._releases[release] = len(self._sessions) - 1
        self._reached = max(self._reached, step)


def _attempt(
    content: LedgerContent, key: Key, start: int, circumstances: Mapping[str, str], made_by: str
) -> int:
    """The number of the latest attempt; of a new one if a repeated step may have another result."""
    attempts = _attempts(key, content.sessions)
    latest = max((n for n, one in enumerate(attempts) if _is_used(one, content.sessions)), default=0)
    fingerprint = attempts[latest].fingerprint
    first = min((step for of, step in content.releases if of == fingerprint), default=start)
    if start < first:
        return latest + 1  # it would reach its own steps with other weights
    began = content.releases.get((fingerprint, first))
    if began is not None:
        expected = content.sessions[began].made_by if start == first else fingerprint
        if made_by != expected:
            return latest + 1  # the weights are of another attempt: a checkpoint was put back
    for (of, step), session in content.releases.items():
        if of == fingerprint and step >= start and content.sessions[session].circumstances != circumstances:
            return latest + 1
    return latest


def _attempts(key: Key, sessions: tuple[Session, ...]) -> list[Key]:
    return [key.attempt(number) for number in range(len({one.key for one in sessions}) + 1)]


def _is_used(key: Key, sessions: tuple[Session, ...]) -> bool:
    return any(one.key == key.fingerprint for one in sessions)


def _own_key(session: Session, key: Key, sessions: tuple[Session, ...]) -> Key | None:
    """The attempt of a session at the run, if `key` is its key."""
    return next((one for one in _attempts(key, sessions) if one.fingerprint == session.key), None)


def _require_same_plan(path: Path, written: PrivacyPlan, plan: PrivacyPlan) -> None:
    if written == plan:
        return
    differing = [
        f"{one.name} was {getattr(written, one.name)!r} and is {getattr(plan, one.name)!r}"
        for one in dataclasses.fields(plan)
        if getattr(written, one.name) != getattr(plan, one.name)
    ]
    raise UserError(
        f"The ledger {path} is of another plan ({'; '.join(differing)}); continue with the plan it "
        "was begun with, or start a new run in another folder."
    )


def read_ledger(path: LocalPath) -> LedgerContent:
    """The content of a ledger. Raises `Damaged` if it is missing, damaged, incomplete or has a gap."""
    return _read(Path(path))[0]


def _read(path: Path) -> tuple[LedgerContent, str]:
    if path.exists() and not path.is_file():
        raise Damaged(f"The ledger {path} is not a file; give the ledger.jsonl of a run.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Damaged(f"The file {path} is not a ledger; give the ledger.jsonl of a run.") from error
    except OSError as error:
        raise Damaged(
            f"Cannot read the ledger {path} ({error.strerror}); give the ledger.jsonl of a run."
        ) from error
    if not text.endswith("\n"):
        raise Damaged(f"The ledger {path} ends in the middle of a line; resume the run to repair it.")
    head = _START
    entries: list[dict[str, Any]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            entry = json.loads(line, parse_constant=_refuse)
        except ValueError as error:
            raise Damaged(f"Line {number} of the ledger {path} is not JSON.") from error
        if not isinstance(entry, dict) or entry.pop("hash", None) != _hash(entry, head):
            raise Damaged(
                f"The ledger {path} was changed: line {number} does not follow from the one before it."
            )
        head = _hash(entry, head)
        entries.append(entry)
    if not entries:
        raise Damaged(f"The ledger {path} is empty; nothing was announced in it.")
    return _content(path, entries), head


def _content(path: Path, entries: list[dict[str, Any]]) -> LedgerContent:
    header, *lines = entries
    if header.get("format") != FORMAT:
        raise Damaged(
            f"The ledger {path} has the format {header.get('format')!r}; this version reads {FORMAT}."
        )
    about = _built(_Header, header, path, 1)
    sessions: list[Session] = []
    releases: dict[Release, int] = {}
    norms: dict[Release, float] = {}
    reached = -1
    for number, entry in enumerate(lines, start=2):
        if "session" in entry:
            sessions.append(_built(Session, entry["session"], path, number))
            continue
        line = _built(_Line, entry, path, number)
        step, key = line.step, line.key
        if not 0 <= step <= reached + 1:
            raise Damaged(f"The ledger {path} has a gap: line {number} is step {step} after step {reached}.")
        if not sessions or sessions[-1].key != key:
            raise Damaged(f"Line {number} of the ledger {path} has a key that no session before it has.")
        if (key, step) in releases:
            raise Damaged(f"Line {number} of the ledger {path} announces step {step} a second time.")
        reached = max(reached, step)
        releases[key, step] = len(sessions) - 1
        if line.clipping_norm is not None:
            norms[key, step] = line.clipping_norm
    return LedgerContent(
        plan=about.plan,
        claimed_epsilon=about.epsilon,
        sessions=tuple(sessions),
        releases=releases,
        norms=norms,
    )


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number of JSON")


def _built(cls: type[T], values: dict[str, Any], path: Path, number: int) -> T:
    try:
        return config.build(cls, values, where="a ledger")
    except (UserError, TypeError, AttributeError) as error:
        raise Damaged(
            f"Line {number} of the ledger {path} does not have the content that training writes; restore the "
            "ledger from a copy."
        ) from error


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


def sync_folder(folder: Path) -> None:
    """Put the names of a folder's files on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
