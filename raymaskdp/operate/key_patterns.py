"""What keys and passwords look like, by the names and in the content of files that would be uploaded."""

from __future__ import annotations

import re

KEYS = re.compile(
    r"(^|/)(\.env([./].*)?|.*env\.txt|id_(rsa|dsa|ecdsa|ed25519)([^a-z0-9/][^/]*)?|auth_token|kaggle\.json"
    r"|credentials(\.json)?|service[-_]account.*\.json|.*\.(pem|key|p12|pfx|secret)"
    r"|(.*[-_.])?(secrets?|tokens?|passwords?|passwd|passphrases?|creds?|credentials|api[-_]?keys?)([-_.].*)?"
    r"\.(txt|json|ya?ml|toml|ini|cfg|md|sh))$"
    r"|(^|/)(private|secrets?|\.ssh|\.aws|\.gnupg)/",
    re.IGNORECASE,
)
"""Names of keys and secrets. They stay behind; one among the code is refused."""

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
    rb"\bnpm_[A-Za-z0-9]{36}",
    rb"\bAGE-SECRET-KEY-1[0-9A-Z]{20}",
    rb"\beyJ[\w-]{8,2000}\.eyJ[\w-]{8,8000}\.[\w-]{8}",  # a JSON web token, as of Kubernetes
    rb"\bhooks\.slack\.com/services/\w{1,40}/\w{1,40}/\w{8}",
    rb"\bdiscord(app)?\.com/api/webhooks/\d{1,30}/[\w-]{20}",
    rb"\bwebhook\.office\.com/webhookb2/[\w@-]{20}",
    rb"[?&](sig|X-Amz-Signature|X-Goog-Signature)=[\w%+/=-]{20}",  # a URL that is signed
)
"""What keys of clouds, hubs and services look like, whatever they are called."""

_NAMED = (
    # What is so called is a key, whatever it looks like.
    rb"""(secret[-_]?access[-_]?key|client-key-data)["']?\s{0,20}[:=]\s{0,20}["']?[^\s"'<${]""",
    rb"AccountKey=[\w+/=]{16}",
    # What may be called so in code: only with a value that is written out.
    rb"""(password|passwd|passphrase|api[-_]?key|(auth|access|refresh|id)[-_]?token|(client|app)[-_]?secret|secret[-_]?key)"""
    rb"""["']?\s{0,20}[:=]\s{0,20}(["'])(?![<${%*\[]|your|x{3}|none\b|null\b)[^\s"']{3,200}["']""",
    rb"""\bmachine\s{1,9}\S{1,200}(\s{1,9}(login|account)\s{1,9}\S{1,200}){0,2}\s{1,9}password\s{1,9}\S""",
    rb"""["']auth["']\s{0,9}:\s{0,9}["'](?=[A-Za-z+/=]{0,200}\d)[\w+/]{12,2000}={0,2}["']""",
    rb"""\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@"'<>{}$%]{1,60}:(?![<${%*\[]|your|x{3})(?=[^\s/@"'<>{}]{0,60}\d)"""
    rb"""[^\s/@"'<>{}]{6,200}@[\w.-]""",
    # A word of many letters and digits, in quotes, beside a name for keys; or as the value of a setting.
    rb"""(token|secret|key|password|passwd|auth|authorization|bearer)["']?\]?\s{0,9}[:=,]\s{0,9}["']"""
    rb"""((bearer|token|basic)\s)?(?=[a-z]{0,200}\d)(?=\d{0,200}[a-z])[a-z0-9]{16}""",
    rb"""\b(login|authenticate|authorize)\(\s{0,9}["'](?=[a-z]{0,200}\d)(?=\d{0,200}[a-z])[a-z0-9]{16}""",
    rb"""\b(bearer|basic)\s(?=[a-z+/]{0,200}\d)(?=\d{0,200}[a-z])[a-z0-9+/._-]{16}""",
    # As in files of variables.
    rb"""(password|api[-_]?key|token|secret)["']?\s{0,20}[:=]\s{0,20}(?=[\w+/-]{0,60}\d)(?=[\w+/-]{0,60}[a-z])[\w+/=-]{16,200}\s{0,9}$""",
)
"""Names of keys with a value, in whatever letters and quotes: YAML, JSON, settings, scripts."""

_PLAIN = re.compile(
    rb"""^[\s-]{0,20}(\w{1,20}_)?(password|passwd|passphrase)["']?\s{0,20}[:=]\s{0,20}"""
    rb"""(?![<${%*\[|>]|your|x{3})(?=[^\s"'().\[\]=]{0,60}\d)[^\s"'().\[\]=]{5,200}\s{0,9}(#.*)?$""",
    re.MULTILINE | re.IGNORECASE,
)
"""A short password with a digit and no quotes, in settings or notes; in code it is an expression."""

NOTES = (".yaml", ".yml", ".ini", ".cfg", ".txt", ".md")

HELD = re.compile(
    b"|".join([b"(%s)" % shape for shape in _SHAPES] + [b"(?i:%s)" % named for named in _NAMED]), re.MULTILINE
)
"""What gives a key away inside of a file."""

_COMMANDS = re.compile(
    rb"""^\s{0,40}(export\s{1,9})?\w{0,40}(password|passwd|passphrase|pwd)=["']?(?![$<`(%]|your|x{3})"""
    rb"""(?=[^\s"']{0,60}\d)[^\s"'$()]{5,200}["']?\s{0,9}(#.*|;.*|&&.*)?$"""
    rb"""|\b(curl|wget|http|https)\s[^\n]{0,300}(-u|--user)[\s=]{0,3}["']?[\w.@-]{1,60}:(?![$<{%])[^\s"'$<{]{4}"""
    rb"""|\b(mysql|mysqldump|mariadb)\s[^\n]{0,300}\s-p(?=[^\s"']{0,60}\d)[^\s"'$<{]{5}""",
    re.MULTILINE | re.IGNORECASE,
)
"""Passwords in commands of a shell."""

_ALONE = re.compile(rb"\s*([0-9a-fA-F]{32,512}|(?=[A-Za-z+/]*\d)[A-Za-z0-9+/_-]{40,512}={0,2})\s*")
"""A raw key, which is all of a file."""

_PGPASS = re.compile(
    rb"^[A-Za-z*][\w.*-]{0,200}:(\d{4,5}|\*):[\w.*-]{1,60}:[\w.*-]{1,60}:\S{3,200}\s*$", re.MULTILINE
)
"""A line of `.pgpass`: host, port, database, user and password."""

PICTURE = re.compile(
    rb"(/9j/4|iVBORw0KGgo|R0lGOD(lh|dh)|UklGR|AAAA[\w+/]{2,4}Z0eX)[\w+/\\]{64}"
    rb"|data:(image|video)/[\w.+-]{1,20};base64,[\w+/]{4}"
)
"""A JPEG, PNG, GIF, WebP or MP4 file as base64."""


def holds_a_key(content: bytes, suffix: str) -> bool:
    """Whether a key is in a file's content; zeros are left out, as every second byte is one in UTF-16.

    Args:
      suffix: the ending of the file, in small letters.
    """
    content = content.replace(b"\0", b"")
    patterns = [HELD]
    if suffix in NOTES:
        patterns += [_PLAIN, _PGPASS]
    if suffix in (".sh", ".md", ".txt"):
        patterns.append(_COMMANDS)
    return _ALONE.fullmatch(content) is not None or any(p.search(content) is not None for p in patterns)
