"""The command that a RayJob runs: whether it is valid, and has its required arguments."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

COMMANDS = {"anonymize": ("a source", "--out"), "train": (), "sweep": (), "prepare": ("a source", "--out")}
"""Required arguments of the commands of jobs, besides settings."""

SCRIPTS = ("anonymize", "train", "sweep")
"""The scripts in the folder jobs/."""

SUCH_AS = "set it to a command such as python jobs/anonymize.py /data/videos --out /data/anonymized"


def faults(place: str, said: str) -> Iterator[tuple[str, str, str]]:
    """Faults of a job's command: where, what, and the fix."""
    if not said.strip():
        yield place, "the job has no command", SUCH_AS
        return
    try:
        words = shlex.split(said)
    except ValueError:
        yield place, "its command has an open quote", "close it"
        return
    for number, word in enumerate(words):
        script = re.search(r"(?:^|/)jobs/([^/]+?)(?:\.py)?$", word)
        if script and script[1] not in SCRIPTS:
            yield (
                place,
                f"the image has no {word}",
                f"use one of {', '.join(f'jobs/{s}.py' for s in SCRIPTS)}",
            )
            return
        following = words[number + 1 :]
        if word.rsplit("/", 1)[-1] == "raymaskdp" and following:
            word, following = following[0], following[1:]
            script = re.fullmatch(r"([a-z-]+)", word)
        if script and script[1] in COMMANDS:
            yield from _lacking(place, script[1], following)
            return


def _lacking(place: str, command: str, words: list[str]) -> Iterator[tuple[str, str, str]]:
    """Missing arguments of a command of the project; shell operators end it."""
    ends = [number for number, word in enumerate(words) if word in ("&&", "||", ";", "|")]
    words = words[: ends[0]] if ends else words
    given = [word for word in words if not word.startswith("-") and "=" not in word]
    out = _value(words, "--out")
    needed = COMMANDS[command]
    sources = len(given) - sum(_value(words, name) in given for name in ("--out", "--config"))
    if "--out" in needed and not out:
        yield place, f"{command} has no output folder (--out)", "add --out and a folder or URL"
    elif "a source" in needed and sources < 1:
        yield place, f"{command} has no source", "put the folder or URL of the videos before --out"


def _value(words: list[str], option: str) -> str:
    for number, word in enumerate(words):
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
        if word == option:
            value = next(iter(words[number + 1 : number + 2]), "")
            return "" if value.startswith("-") else value
    return ""
