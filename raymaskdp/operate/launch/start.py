"""How a file for `ray up` starts Ray on its nodes, and the requirements: addresses, certificates, tokens."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raymaskdp.anonymize.output.secret import LENGTH

Fault = tuple[str, str, str]
"""Place, fault, and fix."""

TLS = re.compile(r"(?:^|[\s;&])(?:\.|source)\s+(\S*tls\S*/env)")
"""The part of a start command that reads the variables of cluster/tls.sh."""

MAKES_TLS = re.compile(r"tls\.sh\s+(/\S+)\s+(/\S+)")
"""The command that makes certificates: its authority, and its output folder."""

TOKEN_MODE = "RAY_AUTH_MODE=token"

PORT = "6379"
"""Default port of a head."""

HEAD = re.compile(r"\$RAY_HEAD_IP|\$\{RAY_HEAD_IP\}")

ADDRESS = "--address=$RAY_HEAD_IP:{}"
CONFIG = "--autoscaling-config=~/ray_bootstrap_config.yaml"

MADE_BY = {
    "auth_token": "ray get-auth-token --generate",
    "ca": "sh cluster/tls.sh --new {path}",
    "secret": "(umask 077; head -c 32 /dev/urandom > {path})",
}
"""The commands that make the files to be copied to the machines, by their names there."""


@dataclass(frozen=True, kw_only=True)
class _Start:
    """The start of Ray on one kind of node: the setting, its commands, and the words of `ray start`."""

    name: str
    commands: str
    words: tuple[str, ...]

    def value(self, option: str) -> str | None:
        """The value of an option, as `--a=b` or `--a b`; None if it is missing."""
        for number, word in enumerate(self.words):
            if word == option:
                return next(iter(self.words[number + 1 : number + 2]), "")
            if word.startswith(f"{option}="):
                return word.partition("=")[2]
        return None

    def has(self, option: str) -> bool:
        return self.value(option) is not None


def faults(settings: Mapping[str, Any]) -> Iterator[Fault]:
    """Faults that prevent the nodes from starting Ray, or from forming one cluster."""
    head, worker = _start(settings, "head"), _start(settings, "worker")
    yield from _not_joined(head, worker)
    yield from _other_address(head, worker)
    yield from _no_certificate(settings, head, worker)
    yield from _no_token(settings, head, worker)
    for there, here in (settings.get("file_mounts") or {}).items():
        yield from _no_file(str(there), str(here))


def commands(settings: Mapping[str, Any], who: str = "worker") -> Iterator[str]:
    """All shell commands that set up nodes, in their order."""
    for when in ("initialization_commands", "setup_commands", f"{who}_setup_commands"):
        yield from map(str, settings.get(when) or [])


def _start(settings: Mapping[str, Any], who: str) -> _Start:
    name = f"{who}_start_ray_commands"
    said = "\n".join(map(str, settings.get(name) or []))
    started = re.search(r"\bray start\b([^;&|\n]*)", said)
    try:
        words = shlex.split(started[1]) if started else []
    except ValueError:  # an open quote
        words = started[1].split() if started else []
    return _Start(name=name, commands=said, words=tuple(words))


def _not_joined(head: _Start, worker: _Start) -> Iterator[Fault]:
    """Missing options of `ray start` for the nodes to form one cluster."""
    for start, needed, otherwise, add in (
        (head, "--head", "no node becomes the head", "--head"),
        (head, "--autoscaling-config", "the head starts no workers", CONFIG),
        (worker, "--address", "each worker is a cluster of its own", ADDRESS.format(PORT)),
    ):
        if start.commands and not start.has(needed):
            yield start.name, f"its `ray start` has no {needed}, so {otherwise}", f"add {add}"
    for start, wrong, otherwise in (
        (head, "--address", "the head searches for another one"),
        (worker, "--head", "each worker is a cluster of its own"),
    ):
        if start.has(wrong):
            yield start.name, f"its `ray start` has {wrong}, so {otherwise}", f"remove {wrong}"


def _other_address(head: _Start, worker: _Start) -> Iterator[Fault]:
    """Whether workers join the address of the head."""
    address = worker.value("--address")
    if not address:
        return
    host, _, port = address.rpartition(":") if ":" in address else (address, "", "")
    listens = (head.value("--port") if head.commands else None) or PORT
    fix = f"set it to {ADDRESS.format(listens)}"
    if not HEAD.fullmatch(host):
        yield worker.name, f"it joins {address}, which may not be the head of this cluster", fix
    elif port != listens:
        yield worker.name, f"it joins port {port or 'none'}, but the head listens at {listens}", fix


def _no_certificate(settings: Mapping[str, Any], head: _Start, worker: _Start) -> Iterator[Fault]:
    """Missing certificates that the start commands read, and missing sources of these."""
    setup = "\n".join((*commands(settings), *commands(settings, "head")))
    read = {start.name: TLS.findall(start.commands) for start in (head, worker)}
    if any(read.values()) and "tls.sh" not in setup:
        made = (read[head.name] or read[worker.name])[0]
        yield (
            "setup_commands",
            f"the commands that start Ray read {made}, which no command here makes, so no node starts",
            "use the setup_commands of cluster/",
        )
    else:
        for who, start in (("head", head), ("worker", worker)):
            outs = [_full(out) for _, out in MAKES_TLS.findall("\n".join(commands(settings, who)))]
            for env in read[start.name]:
                if outs and _full(env).removesuffix("/env") not in outs:
                    said = f"it reads {env}, but the setup_commands make certificates only in {outs[-1]}"
                    yield start.name, f"{said}, so these nodes do not start", f"read {outs[-1]}/env"
    mounts = [_full(str(there)) for there in settings.get("file_mounts") or {}]
    for authority in dict.fromkeys(authority for authority, _ in MAKES_TLS.findall(setup)):
        if not any(authority == there or authority.startswith(f"{there}/") for there in mounts):
            yield (
                "file_mounts",
                f"nothing is copied to {authority}, from which certificates are made, so no node starts",
                f"add {authority}: ~/.raymaskdp-ca",
            )
    if bool(read[head.name]) != bool(read[worker.name]):
        yield (
            worker.name if read[head.name] else head.name,
            "the other nodes use TLS and these do not, so they cannot connect",
            "start Ray in the same way on all of them",
        )


def _no_token(settings: Mapping[str, Any], head: _Start, worker: _Start) -> Iterator[Fault]:
    asked = {start.name: TOKEN_MODE in start.commands for start in (head, worker)}
    if any(asked.values()) and not all(asked.values()):
        yield (
            worker.name if asked[head.name] else head.name,
            "the other nodes require a token and these have none, so they cannot connect",
            f"add {TOKEN_MODE} before `ray start`",
        )
    given = [str(there) for there in settings.get("file_mounts") or {}]
    if any(asked.values()) and not any(there.endswith(("/.ray/auth_token", "/.ray")) for there in given):
        yield (
            "file_mounts",
            "the nodes require a token and none is copied to them, so Ray does not start",
            "add /home/ray/.ray/auth_token: ~/.ray/auth_token",
        )


def _no_file(there: str, here: str) -> Iterator[Fault]:
    """Missing or wrong files that are copied to the machines."""
    place, path = f"file_mounts.{there}", Path(here).expanduser()
    name = Path(there).name
    make = MADE_BY.get(name, "create {path}, or remove it from file_mounts").format(path=here)
    try:
        if not path.exists():
            yield place, f"{here} does not exist", make
        elif name == "ca" and (
            lacking := [one for one in ("ca.crt", "ca.key") if not (path / one).is_file()]
        ):
            yield place, f"{here} has no {' and no '.join(lacking)}", make
        elif name == "auth_token" and not path.read_bytes().strip():
            yield place, f"{here} is empty, so Ray does not start", make
        elif name == "secret" and path.stat().st_mode & 0o077:
            yield place, f"others on this machine may read {here}", f"chmod 600 {here}"
        elif name == "secret" and path.stat().st_size != LENGTH:
            said = f"{here} has {path.stat().st_size} bytes, but runs need {LENGTH}"
            yield place, said, f"rm {here} && {make}"
    except OSError as error:
        yield place, f"{here} cannot be read ({error.strerror})", "give yourself access to it"


def _full(path: str) -> str:
    """A path on a node, without ~ and a trailing slash."""
    return path.replace("~", "/home/ray", 1).rstrip("/")
