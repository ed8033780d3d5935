"""What leaves the machine with a job or an image: code and settings, and no video, run or key."""

import base64
import hashlib
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from ray._private.runtime_env import packaging
from support.samples import write_anonymized

from raymaskdp.errors import UserError
from raymaskdp.operate.key_patterns import KEYS, PICTURE, holds_a_key
from raymaskdp.operate.upload import CODE as ENDINGS
from raymaskdp.operate.upload import left_behind

ROOT = Path(__file__).parents[2]
CODE = ("plugin.py", "package/__init__.py", "package/data.yaml", "settings [old].YAML", "notes #1.md")
REST = (
    ".anonymized.secret", ".anonymized.pieces/a/analysis", ".env", ".git/config", "CLIP.MP4", "clip.Mov",
    "private/key", "weights.safetensors", "package/__pycache__/x.pyc", "manifest.parquet", "a b/clip.mkv",
    "strange [1]*.mp4", "token", ".hidden/code.py",
)  # fmt: skip


def uploaded(folder: Path) -> set[str]:
    """What Ray itself would pack with these patterns."""
    ignored = packaging._get_excludes(folder, left_behind(folder))
    found: set[str] = set()
    packaging._dir_travel(folder, [ignored], lambda path: found.add(str(path.relative_to(folder))), True)
    return {name for name in found if (folder / name).is_file()}


def test_only_code_is_uploaded(tmp_path: Path) -> None:
    for name in (*CODE, *REST):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "large.json").write_bytes(bytes(11 * 2**20))
    assert uploaded(tmp_path) == set(CODE)


STRANGE = (
    "id.key\t", "id.key ", "id.key\r", "id.key\u00a0", "x\x0b", "id\n.key", "id\\.key", "!id.key", "#id.key",
    "*.key", "a.py\n.key", "caf\udce9.key", "sub\n/id.key", "sub /id.key", "sub /a.py",
    "package/deep/er/id.key ",
)  # fmt: skip


def test_names_that_patterns_do_not_express_stay_behind(tmp_path: Path) -> None:
    """Blanks at the end of a pattern mean nothing, so keys of such names were uploaded."""
    for name in (*CODE, "package/deep/er/b.py", *STRANGE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = uploaded(tmp_path)
    assert {*CODE, "package/deep/er/b.py"} <= found <= {*CODE, "package/deep/er/b.py", "sub /a.py"}


def test_no_link_is_followed(tmp_path: Path) -> None:
    """Ray packs what is behind a linked folder, too."""
    work, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    for name in ("private/key", "CLIP.MP4", ".env", "code.py"):
        (elsewhere / name).parent.mkdir(parents=True, exist_ok=True)
        (elsewhere / name).write_bytes(b"x")
    work.mkdir()
    (work / "plugin.py").write_text("x")
    (work / "data").symlink_to(elsewhere)
    (work / "settings.yaml").symlink_to(elsewhere / "private/key")
    assert uploaded(work) == {"plugin.py"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("private/key.json", "{}"),
        ("secrets/a.yaml", "x: 1"),
        ("credentials.json", "{}"),
        ("Service-Account-7.json", "{}"),
        ("notes.txt", f"{'-' * 5}BEGIN OPENSSH PRIVATE KEY-----\nabc"),
        ("notes.txt", f"{'-' * 5}BEGIN PGP PRIVATE KEY BLOCK-----\nabc"),
        ("notes.txt", "\0".join(f"{'-' * 5}BEGIN PRIVATE KEY-----")),
        ("secret.txt", "x"),
        ("my_token.txt", "x"),
        ("creds.json", "{}"),
        ("kaggle.json", "{}"),
        ("db-passwords.yaml", "x: 1"),
        ("creds.py", f"KEY = 'AKIA{'A1B2' * 4}'"),
        ("conf.yaml", "aws_secret_" + "access_key: abc"),
        ("conf.toml", f"hub = 'hf_{'a1B2c3' * 6}'"),
        ("a.json", '{"aws_secret_' + 'access_key": "abc"}'),
        ("a.yaml", "AWS_SECRET_" + "ACCESS_KEY : 'abc'"),
        ("a.json", '{"SecretAccess' + 'Key": "abc"}'),
        ("kube.yaml", "    client-key-" + "data: LS0tLS1C"),
        ("run.sh", f"export WANDB_API_KEY={'0a1b' * 10}\nmake"),
        ("a.py", f"client = Client('sk-{'aB3-' * 8}')"),
        ("a.py", f"client = Client('sk-proj-{'aB3_' * 8}')"),
        ("a.md", f"xox{'b-1234567890'}-abc"),
        ("a.ini", f"AccountName=x;AccountKey={'aB3/' * 20}=="),
        ("a.json", '{"user": "x", "pass' + 'word": "hunter2"}'),
        ("a.yaml", "Pass" + "word: 'hunter2'"),
        ("a.py", "API_" + 'KEY = "abcdef"'),
        ("api_key.txt", "x"),
        ("api-keys.yaml", "x: 1"),
        ("my_passphrase.txt", "x"),
        ("env.txt", "A=1"),
        ("prod.env.txt", "A=1"),
        ("id_rsa_old.txt", "x"),
        ("id_rsa.txt", "x"),
        ("docker.json", '{"auths": {"hub.example": {"auth' + '": "dXNlcjpodW50ZXIy"}}}'),
        ("netrc.txt", "mach" + "ine hub.example\n  login me\n  password zzzzzzz1"),
        ("notes.txt", "postgres://" + "user:Sup3rSecret@db.example/x"),
        ("db.yaml", "user: me\npassword: hunter2\n"),
        ("a.py", f"wandb.login(key='{'0a1b' * 10}')"),
        ("a.py", f"wandb.login('{'0a1b' * 10}')"),
        ("a.py", f"token = '{'8f14' * 8}'"),
        ("a.py", f"TOKEN='{'abcde12345' * 2}'"),
        ("a.py", f"headers = {{'Authorization': 'Bearer {'aB3x' * 6}'}}"),
        ("a.py", f"os.environ.setdefault('HUB_KEY', '{'aB3x' * 6}')"),
        ("kube.yaml", f"    token: eyJ{'hbGci' * 3}.eyJ{'pc3Mi' * 3}.{'c2ln' * 4}"),
        ("a.sh", f"npm config set //registry.npmjs.org/:_authToken npm_{'aB3x' * 9}"),
        ("a.sh", "export PGPASSWORD=" + "hunter22"),
        ("a.sh", "curl -u me:" + "hunter22 https://x.example"),
        ("a.sh", "mysql -u root -p" + "hunter22 db"),
        ("a.txt", f"AGE-SECRET-KEY-1{'Q' * 58}"),
        ("a.txt", "localhost:5432:db:me:" + "hunter22"),
        ("a.txt", "0123456789abcdef" * 4),
        ("a.txt", f"{'aB3+' * 10}aB3=\n"),
        ("a.py", f"URL = 'https://hooks.slack.com/services/T0/B0/{'X' * 24}'"),
        ("a.py", f"URL = 'https://a.blob.example/c?sv=2020&sig={'abc1' * 10}%3D'"),
        ("a.json", '{"refresh_' + 'token": "1//0gabc"}'),
    ],
)
def test_a_key_among_the_code_is_refused(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=r"looks like a key"):
        left_behind(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["tokens.py", "tokenizer.json", "passwordless.md", "secretary.yaml", "environment.yml", "id_rsassa.py"],
)
def test_what_is_only_called_nearly_so_is_code(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("split(text)")
    assert uploaded(tmp_path) == {name}


@pytest.mark.parametrize(
    "line",
    [
        "password = getpass()",
        "def login(password: str, token: str | None = None) -> None: ...",
        'api_key = os.environ["WANDB_API_KEY"]',
        "password: ${PASSWORD}",
        'password: "<your password>"',
        "secret = tokenizer.tokens_of_a_long_text",
        "a desk-sized-risk-averse-mask-based-task",
        "token: str = field(default=1)",
        "password: str",
        "password: required",
        "http://user:password@example.org is a form of URL",
        "https://example.org:8080/a@b",
        "    password=password,",
        "password = args.password2",
        "password: SecretStr",
        'headers = {"auth": "required"}',
        'token = "pose_landmarker_full_v2_float16"',
        "key = sha256_of_everything_that_is_in_it(a1)",
        'jax.random.key(0), key="videos-of-2024-01-31"',
        'headers = {"Authorization": f"Bearer {token}"}',
        "export PGPASSWORD=$PASSWORD",
        'curl -u "$USER:$PASSWORD" https://x.example',
        "12:30:45: 3 of 7: done",
        'src = f"data:image/jpeg;base64,{text}"',
        "amqp://guest:guest@localhost",
    ],
)
def test_code_that_asks_for_a_key_has_none(line: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(line)
    assert uploaded(tmp_path) == {"a.py"}


def test_what_is_no_text_stays_behind_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "backup.md").write_bytes(hashlib.sha256(b"secret").digest())
    (tmp_path / "film.py").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "a.md").write_text("naïve")
    (tmp_path / "b.txt").write_bytes("naïve".encode("utf-16"))
    assert uploaded(tmp_path) == {"a.md", "b.txt"}


@pytest.mark.parametrize("kind", [".jpg", ".png", ".webp"])
def test_a_picture_within_text_stays_behind(kind: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    picture = base64.b64encode(cv2.imencode(kind, noise)[1].tobytes()).decode()
    (tmp_path / "faces.json").write_text(json.dumps([{"name": "x", "face": picture}]))
    (tmp_path / "page.md").write_text(f"![x](data:image/jpeg;base64,{picture[:8]})")
    (tmp_path / "a.py").write_text("x")
    assert uploaded(tmp_path) == {"a.py"}


def test_nothing_of_this_repository_is_taken_for_a_key() -> None:
    looked_at = 0
    for folder in ("raymaskdp", "tests", "docs", "configs", "jobs", "cluster"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in ENDINGS and path.is_file():
                content = path.read_bytes()
                assert not holds_a_key(content, path.suffix), path
                assert not KEYS.search(path.relative_to(ROOT).as_posix()), path
                assert not PICTURE.search(content), path
                looked_at += 1
    assert looked_at > 500


def test_what_anonymize_wrote_about_a_video_stays_behind(tmp_path: Path) -> None:
    """It names the source, and the frames in which people are."""
    write_anonymized(tmp_path / "out", train=1, test=0)
    (tmp_path / "out/plugin.py").write_text("x")
    assert uploaded(tmp_path) == {"out/plugin.py"}


def test_an_image_gets_the_code_alone(tmp_path: Path) -> None:
    """By the rules of .dockerignore: the last line that matches decides."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "**"

    def copied(name: str) -> bool:
        kept = False
        for line in lines:
            pattern = line.lstrip("!")
            parts = name.split("/")
            if pattern == "**":
                hit = True
            elif pattern.startswith("**/"):
                hit = any(Path(part).match(pattern[3:]) for part in parts)
            else:
                hit = name == pattern or name.startswith(pattern + "/")
            kept = line.startswith("!") if hit else kept
        return kept

    assert all(
        copied(name) for name in ("pyproject.toml", "raymaskdp/config.py", "jobs/train.py", "cluster/tls.sh")
    )
    here = (
        ".git/config",
        ".env",
        "anonymized/a.mp4",
        "videos/A.MP4",
        "raymaskdp/private/key",
        "jobs/.env",
        "x.key",
    )
    assert not any(copied(name) for name in here)
    assert os.access(ROOT / "cluster/Dockerfile", os.R_OK)
