"""The files of a working directory that are uploaded with a job: code and its settings, and nothing else."""

from __future__ import annotations

import codecs
import os
import re
from pathlib import Path

from raymaskdp.datasets.search import is_provenance
from raymaskdp.errors import UserError

CODE = (".py", ".pyi", ".yaml", ".yml", ".toml", ".json", ".cfg", ".ini", ".txt", ".md", ".sh")
"""File name endings that are uploaded, in lower case."""

MOST_UPLOADED_MIB = 10
"""Largest size of such a file; larger ones are data, which belong on separate storage."""

KEYS = re.compile(
    r"(^|/)(\.env([./].*)?|.*env\.txt|id_(rsa|dsa|ecdsa|ed25519)([^a-z0-9/][^/]*)?|auth_token|kaggle\.json"
    r"|credentials(\.json)?|service[-_]account.*\.json|.*\.(pem|key|p12|pfx|secret)"
    r"|(.*[-_.])?(secrets?|tokens?|passwords?|passwd|passphrases?|creds?|credentials|api[-_]?keys?)([-_.].*)?"
    r"\.(txt|json|ya?ml|toml|ini|cfg|md|sh))$"
    r"|(^|/)(private|secrets?|\.ssh|\.aws|\.gnupg)/",
    re.IGNORECASE,
)
"""Names of keys and secrets. They are not uploaded; one among the code is refused."""

_SHAPES = (
    rb"-----BEGIN [A-Z ]{0,40}PRIVATE KEY( BLOCK)?-----",
    rb"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
    rb"\bgh[opsur]_[A-Za-z0-9]{36}",
    rb"\bgithub_pat_\w{22}",
    rb"\bhf_[A-Za-z0-9]{30}",
    rb"\bglpat-[\w-]{20}",
    rb"\bsk-(?=[\w-]{0,60}\d)(?=[\w-]{0,60}[A-Za-z])[\w-]{20}",
    rb"\bsk_live_\w{16}",
    rb"\bxox[a-z]-[\w-]{10}",
    rb"\bAIza[\w-]{35}",
)
"""Formats of keys of clouds, hubs and services, under any name."""

_NAMED = (
    # A variable with such a name is a key, whatever its format.
    rb"""(secret[-_]?access[-_]?key|client-key-data)["']?\s{0,20}[:=]\s{0,20}["']?[^\s"'<${]""",
    rb"AccountKey=[\w+/=]{16}",
    # Names that also occur in code: only with a literal value.
    rb"""(password|passwd|passphrase|api[-_]?key|(auth|access)[-_]?token|(client|app)[-_]?secret|secret[-_]?key)"""
    rb"""["']?\s{0,20}[:=]\s{0,20}(["'])(?![<${%*\[]|your|x{3}|none\b|null\b)[^\s"']{3,200}["']""",
    rb"""\bmachine\s{1,9}\S{1,200}(\s{1,9}(login|account)\s{1,9}\S{1,200}){0,2}\s{1,9}password\s{1,9}\S""",
    rb"""["']auth["']\s{0,9}:\s{0,9}["'](?=[A-Za-z+/=]{0,200}\d)[\w+/]{12,2000}={0,2}["']""",
    rb"""\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@"'<>{}$%]{1,60}:(?![<${%*\[]|your|x{3})(?=[^\s/@"'<>{}]{0,60}\d)"""
    rb"""[^\s/@"'<>{}]{6,200}@[\w.-]""",
    # As in files of environment variables.
    rb"""(password|api[-_]?key|token|secret)["']?\s{0,20}[:=]\s{0,20}(?=[\w+/-]{0,60}\d)(?=[\w+/-]{0,60}[a-z])[\w+/=-]{16,200}\s{0,9}$""",
)
"""Names of keys with a value, in any case and quotes: YAML, JSON, settings, scripts."""

_PLAIN = re.compile(
    rb"""^[\s-]{0,20}(\w{1,20}_)?(password|passwd|passphrase)["']?\s{0,20}[:=]\s{0,20}"""
    rb"""(?![<${%*\[|>]|your|x{3})(?=[^\s"'().\[\]=]{0,60}\d)[^\s"'().\[\]=]{5,200}\s{0,9}(#.*)?$""",
    re.MULTILINE | re.IGNORECASE,
)
"""A short password with a digit and without quotes, in settings or notes; in code it is an expression."""

NOTES = (".yaml", ".yml", ".ini", ".cfg", ".txt", ".md")

HELD = re.compile(
    b"|".join([b"(%s)" % shape for shape in _SHAPES] + [b"(?i:%s)" % named for named in _NAMED]), re.MULTILINE
)
"""Patterns of keys inside a file."""


def left_behind(folder: Path) -> list[str]:
    """The files of a working directory that are not uploaded, as patterns of .gitignore: all except `CODE`.

    Everything is excluded, and code is included again, so that an unusual name excludes a file. Hidden files
    and folders, links, and files of `anonymize` about videos are excluded, too. Raises `UserError` for a file
    that would be uploaded and is a key by its name or its content.
    """
    patterns = ["*", "!/."]  # the folder itself, because Ray also checks that
    for root, folders, files in os.walk(folder):
        here = Path(root).relative_to(folder)
        for name in list(folders):
            linked = (Path(root) / name).is_symlink()  # Ray would follow it to any place
            if linked or name.startswith(".") or name == "__pycache__":
                folders.remove(name)
            else:
                inner = _pattern(here / name)
                patterns += [f"!{inner}", f"{inner}/*"]
        for name in files:
            path = Path(root) / name
            taken = path.suffix.lower() in CODE and path.is_file() and not path.is_symlink()
            if name.startswith(".") or not taken or not _is_text(path) or _is_of_a_video(path):
                continue
            if KEYS.search((here / name).as_posix()) or _holds_a_key(path):
                raise UserError(
                    f"{path} looks like a key and would be uploaded; move it out of the working directory."
                )
            if path.stat().st_size <= MOST_UPLOADED_MIB * 2**20:
                patterns.append(f"!{_pattern(here / name)}")
    return patterns


def _is_text(path: Path) -> bool:
    """Whether a file has the content that its ending declares; a video or a raw secret with such a name is
    excluded.
    """
    with open(path, "rb") as opened:
        content = opened.read(MOST_UPLOADED_MIB * 2**20)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(content)  # the last letter may be cut off
    except UnicodeDecodeError:
        return content[:2] in (b"\xff\xfe", b"\xfe\xff")  # UTF-16, as some editors write
    return True


def _is_of_a_video(path: Path) -> bool:
    """Whether a file is `anonymize`'s description of a video: it names the source, and frames with people."""
    return path.suffix.lower() == ".json" and is_provenance(path.read_bytes())


def _pattern(path: Path) -> str:
    """A path as a pattern that matches only it."""
    return "/" + re.sub(r"([\\*?\[\]!# ])", r"\\\1", path.as_posix())


def _holds_a_key(path: Path) -> bool:
    """Whether a file contains a key; zero bytes are ignored, because they are every second byte in UTF-16."""
    with open(path, "rb") as opened:
        content = opened.read(MOST_UPLOADED_MIB * 2**20).replace(b"\0", b"")
    patterns = (HELD, _PLAIN) if path.suffix.lower() in NOTES else (HELD,)
    return any(pattern.search(content) is not None for pattern in patterns)
