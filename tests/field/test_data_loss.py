"""Nothing of the user's is ever written over or removed, and nothing that was written is ever a source."""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from object_store import BUCKET, served
from support.field_films import Films, Run
from support.samples import everything, write_anonymized, write_provenance

from raymaskdp import files, places, storage
from raymaskdp.anonymize import anonymize
from raymaskdp.anonymize.output import folders, ownership, progress
from raymaskdp.anonymize.output.manifest import Row, read_manifest, unpublish, write_manifest
from raymaskdp.datasets.ids import stable_id, why_no_id
from raymaskdp.datasets.manifest import VideoRecord, find_source, read_source
from raymaskdp.errors import UserError
from raymaskdp.report import report
from raymaskdp.report.pictures.contact_sheet import sheet
from raymaskdp.report.review import review
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize
from raymaskdp.train import ClipStore, PrepareConfig, prepare
from raymaskdp.video.containers.mark import is_marked

SIZE = PrepareConfig(width=32, height=24, token=2)


# --- outputs and sources never meet ---------------------------------------------------------------------


def link(path: Path, to: Path) -> Path:
    path.symlink_to(to)
    return path


MEETING: dict[str, Callable[[Path], tuple[str | Path, str | Path]]] = {
    "a file's own folder": lambda t: (t / "videos/a.mp4", t / "videos"),
    "the folder itself": lambda t: (t / "videos", t / "videos"),
    "a folder in it": lambda t: (t / "videos", t / "videos/anonymized"),
    "deep in it": lambda t: (t / "videos", t / "videos/new/deep/out"),
    "the folder around": lambda t: (t / "videos", t),
    "around a file": lambda t: (t / "videos/a.mp4", t),
    "another spelling": lambda t: (t / "videos", f"{t}/other/../videos/./x"),
    "a link to the source": lambda t: (t / "videos", link(t / "link", t / "videos")),
    "below a link to the source": lambda t: (t / "videos", link(t / "link", t / "videos") / "out"),
    "a linked source": lambda t: (link(t / "link", t / "videos"), t / "videos/out"),
    "in a folder that a link in the source leads to": lambda t: (
        link((t / "links").mkdir() or t / "links/far", t / "videos").parent,
        t / "videos/new/out",
    ),
    "the same by a glob": lambda t: (
        f"{link((t / 'links').mkdir() or t / 'links/far', t / 'videos').parent}/*/*.mp4",
        t / "videos/out",
    ),
    "a link in the source to where the outputs were to go": lambda t: (
        link(t / "videos/far", (t / "out").mkdir() or t / "out").parent,
        t / "out",
    ),
    "where a linked file is": lambda t: (
        link((t / "links").mkdir() or t / "links/a.mp4", t / "videos/a.mp4"),
        t / "videos",
    ),
    "a glob": lambda t: (f"{t}/videos/*.mp4", t / "videos"),
    "a glob that goes down": lambda t: (f"{t}/videos/**/*.mp4", t / "videos/out"),
    "a table in another folder": lambda t: (t / "list.csv", t / "videos"),
    "the table's own folder": lambda t: (t / "tables/list.csv", t / "tables"),
}


@pytest.mark.parametrize("name", MEETING)
def test_outputs_never_meet_sources(name: str, films: Films, run: Run, tmp_path: Path) -> None:
    films.put(tmp_path / "videos/a.mp4", tmp_path / "videos/b.mp4")
    (tmp_path / "list.csv").write_text("path\nvideos/a.mp4\n")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/list.csv").write_text("path\n../videos/a.mp4\n")
    source, out = MEETING[name](tmp_path)
    before = everything(tmp_path)
    with pytest.raises(UserError, match="same or one is in the other"):
        run(source, out)
    with pytest.raises(UserError, match="same or one is in the other"):
        prepare(source, out, SIZE)
    assert everything(tmp_path) == before


def test_from_within_the_folder(
    films: Films, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films.put(tmp_path / "videos/a.mp4")
    monkeypatch.chdir(tmp_path / "videos")
    for source, out in (
        (".", "anonymized"),
        (".", "."),
        ("a.mp4", "."),
        ("../videos", "out"),
        ("a.mp4", ".."),
    ):
        with pytest.raises(UserError, match="same or one is in the other"):
            run(source, Path(out))
    assert sorted(os.listdir()) == ["a.mp4"]


def test_chunks_never_lie_among_the_sources(films: Films, tmp_path: Path) -> None:
    """Nor are they sources: they show people. A folder that is for several runs may hold sources, too."""
    films.put(tmp_path / "data/videos/a.mp4")
    for chunks in (tmp_path / "data/videos", tmp_path / "data/videos/deep/pieces"):
        chosen = dataclasses.replace(films.settings, chunks=chunks)
        with pytest.raises(UserError, match=r"The folder of chunks .* one is in the other"):
            anonymize(tmp_path / "data/videos", tmp_path / "out", chosen, progress=False)
    assert set(everything(tmp_path)) == {"data/videos/a.mp4"}
    chosen = dataclasses.replace(films.settings, chunks=tmp_path / "data")
    assert anonymize(tmp_path / "data/videos", tmp_path / "out", chosen, progress=False).done == 1
    scratch = files.scratch_folder(tmp_path / "data/pieces")
    films.put(scratch / "deep/b.mp4")
    for source in (tmp_path / "data", f"{tmp_path}/data/**/*.mp4"):
        found = find_source(source)
        assert [record.video_id for record in found.records] == ["videos__a"]
        assert found.left_out == {"written by this project": ("pieces/deep/b.mp4",)}
    with pytest.raises(UserError, match="outputs are never sources"):
        anonymize(scratch / "deep/b.mp4", tmp_path / "other", films.settings, progress=False)


@pytest.mark.parametrize("place", ["out/secret", "out/deep/secret", "other/../out/secret"])
@pytest.mark.parametrize("there", [True, False])
def test_a_secret_never_lies_among_the_outputs(place: str, there: bool, films: Films, tmp_path: Path) -> None:
    films.put(tmp_path / "videos/a.mp4")
    if there:
        (tmp_path / "out").mkdir()
    chosen = dataclasses.replace(films.settings, secret_file=tmp_path / place)
    with pytest.raises(UserError, match="same or one is in the other"):
        anonymize(tmp_path / "videos", tmp_path / "out", chosen, progress=False)
    assert set(everything(tmp_path)) == {"videos/a.mp4"}


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        ("s3://b/x", "s3://b/x", True),
        ("s3://b/x/", "s3://b/x", True),
        ("s3://b//x/y", "s3://b/x", True),
        ("s3://b/x/./y", "s3://b/x", True),
        ("gcs://b/x/y", "gs://b/x", True),
        ("s3://b/x", "s3://b", True),
        ("s3://b/xy", "s3://b/x", False),
        ("s3://c/x", "s3://b/x", False),
        ("s3://b/x", "gs://b/x", False),
        ("/b/x", "s3://b", False),
    ],
)
def test_urls_meet_by_parts(inner: str, outer: str, expected: bool) -> None:
    assert places.within(inner, outer) is expected


# --- only what this project wrote is removed or replaced ------------------------------------------------


def test_a_file_of_the_users_stays_and_the_run_says_so_first(films: Films, run: Run, tmp_path: Path) -> None:
    """Whatever the output is called like; and before any work is done."""
    films.put(tmp_path / "videos/a.mp4")
    for name in ("a.mp4", "a.avatar.mp4", "a.npz", "a.json"):
        out = tmp_path / f"out-{name}"
        out.mkdir()
        (out / name).write_text('{"mine": true}')
        with pytest.raises(UserError, match=f"{name} exists already, and this project did not write it"):
            run(tmp_path / "videos", out)
        assert {path.name: path.read_text() for path in out.iterdir()} == {name: '{"mine": true}'}


def test_what_was_changed_since_is_set_aside(films: Films, run: Run, tmp_path: Path) -> None:
    films.put(tmp_path / "videos/a.mp4")
    out = tmp_path / "out"
    assert run(tmp_path / "videos", out).done == 1
    written = everything(out)
    (out / "a.mp4").write_bytes(b"my own film, under a name that was taken")
    assert run(tmp_path / "videos", out).done == 1
    after = everything(out)
    (aside,) = after.keys() - written.keys()
    assert aside.startswith("a.mp4.set-aside-")
    assert (out / aside).read_bytes() == b"my own film, under a name that was taken"
    assert after["a.mp4"] == written["a.mp4"]


def published(out: Path) -> dict[str, str]:
    """A finished video's files, as small as can be, and their digests."""
    out.mkdir()
    names = ("a.mp4", "a.avatar.mp4", "a.npz")
    for name in names:
        (out / name).write_text(f"written as {name}")
    write_provenance(out, {"video_id": "a", "source_sha256": "s" * 64, "config_sha256": "c" * 64})
    return everything(out)


def test_unpublish_takes_back_what_was_written_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out"
    published(out)
    (out / "a.txt").write_text("notes")
    (out / "b.mp4").write_text("another")
    unpublish(out, "a")
    assert sorted(os.listdir(out)) == ["a.txt", "b.mp4"]
    unpublish(out, "b")  # nothing says that this project wrote it
    assert sorted(os.listdir(out)) == ["a.txt", "b.mp4"]


@pytest.mark.parametrize("name", ["a.mp4", "a.avatar.mp4", "a.npz"])
def test_unpublish_leaves_what_is_not_as_it_was_written(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    published(out)
    (out / name).write_text("mine")
    unpublish(out, "a")
    assert {path.name: path.read_text() for path in out.iterdir()} == {name: "mine"}


def test_unpublish_follows_no_link(tmp_path: Path) -> None:
    out = tmp_path / "out"
    published(out)
    kept = tmp_path / "kept.mp4"
    shutil.move(out / "a.mp4", kept)
    (out / "a.mp4").symlink_to(kept)
    unpublish(out, "a")
    assert kept.exists()
    assert (out / "a.mp4").is_symlink()


def test_a_foreign_json_is_no_provenance(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.mp4").write_text("mine")
    (out / "a.json").write_text(json.dumps({"outputs": {"a.mp4": files.sha256_file(out / "a.mp4")}}))
    unpublish(out, "a")
    assert sorted(os.listdir(out)) == ["a.json", "a.mp4"]


def test_unpublish_leaves_its_folder_alone(tmp_path: Path) -> None:
    """Whatever a provenance of others names."""
    out = tmp_path / "out"
    digests = published(out)
    mine = tmp_path / "mine" / "a.mp4"
    mine.parent.mkdir()
    shutil.copy(out / "a.mp4", mine)
    about = json.loads((out / "a.json").read_text())
    about["outputs"] = {**digests, "../mine/a.mp4": digests["a.mp4"]}
    (out / "a.json").write_text(json.dumps(about))
    unpublish(out, "a")
    assert mine.exists()


@pytest.mark.parametrize("outputs", [["a.mp4"], None, 3])
def test_a_json_of_another_form_is_no_provenance(outputs: object, tmp_path: Path) -> None:
    about = {"video_id": "a", "outputs": outputs, "config_sha256": "x"}
    (tmp_path / "a.json").write_text(json.dumps(about))
    (tmp_path / "a.mp4").write_text("mine")
    unpublish(tmp_path, "a")
    assert [record.video_id for record in find_source(tmp_path).records] == ["a"]


def test_a_run_that_dies_while_it_publishes_leaves_files_that_the_next_one_knows(tmp_path: Path) -> None:
    """At each step: with the claim, and with some of the new files beside some of the old ones."""
    made_from = {"config_sha256": "c" * 64}
    out, new = tmp_path / "out", {"a.mp4": "1" * 64, "a.avatar.mp4": "2" * 64}
    old = published(out)
    known = ownership.claim(out, "a", made_from, new)
    assert {name: set(known[name]) for name in new} == {name: {old[name], new[name]} for name in new}
    assert ownership.read(out, "a") == known
    ownership.require_free(out, "a", (".mp4", ".avatar.mp4", ".npz"), done_before=False)
    (out / "a.mp4").write_text("new")
    known = ownership.claim(
        out, "a", {"config_sha256": "c" * 64}, {"a.mp4": files.sha256_file(out / "a.mp4")}
    )
    assert all(ownership.is_ours(out / name, known) for name in ("a.mp4", "a.avatar.mp4", "a.npz"))
    unpublish(out, "a")
    assert not list(out.iterdir())


def test_private_folders_of_a_run_are_its_own(films: Films, run: Run, tmp_path: Path) -> None:
    """A folder of the user's that is called like one is neither emptied nor used."""
    films.put(tmp_path / "videos/a.mp4")
    for kind in ("work", folders.CHUNKS):
        out = tmp_path / f"out-{kind}"
        mine = tmp_path / f".out-{kind}.{kind}"
        films.put(mine / "b.mp4")
        with pytest.raises(UserError, match="has others; move it away"):
            run(tmp_path / "videos", out)
        assert [path.name for path in mine.iterdir()] == ["b.mp4"]


# --- every other command --------------------------------------------------------------------------------


def test_a_file_is_replaced_only_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    files.write_json(path, 1)
    files.write_json(path, 2)
    assert json.loads(path.read_text()) == 2
    path.write_text("mine")
    with pytest.raises(
        UserError, match=r"x\.json exists already and is not unchanged output of this project"
    ):
        files.write_json(path, 3)
    assert path.read_text() == "mine"
    link(tmp_path / "y.json", path)
    with pytest.raises(UserError, match=r"y\.json exists already"):
        files.write_json(tmp_path / "y.json", 3)


def test_a_file_that_appears_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"

    def write() -> None:
        with files.atomic_path(path) as temporary:
            temporary.write_text("ours")
            path.write_text("mine")

    with pytest.raises(UserError, match="exists already"):
        write()
    assert path.read_text() == "mine"


@given(names=st.lists(st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=20), min_size=1))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_name_is_remembered(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("made")
    for number, name in enumerate(name for name in names if name not in (".", "..", files.MADE)):
        try:
            files.write_text(folder / name, str(number))
        except (OSError, UnicodeEncodeError):
            continue  # a name that the file system does not take
        files.write_text(folder / name, "again")
        assert (folder / name).read_text() == "again"


COMMANDS: dict[str, tuple[str, Callable[[Path, Path], object]]] = {
    "report": ("page.html", lambda out, path: report(out, path)),
    "review": ("page.html", lambda out, path: review(out, path)),
    "sheet": ("sheet.png", lambda out, path: sheet(out, path)),
    "prepare": ("clips/videos.parquet", lambda out, path: prepare(out, path.parent, SIZE)),
    "prepare, clips": (
        "clips/clips/v000.frames.npy",
        lambda out, path: prepare(out, path.parent.parent, SIZE),
    ),
    "synthesize": (
        "data/videos/wave_p00_t00.mp4",
        lambda _, path: synthesize(
            path.parent.parent, SynthesizeConfig(people=1, actions=("wave",), frames=1, width=64, height=48)
        ),
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_writes_over_a_file(name: str, tmp_path: Path) -> None:
    out = write_anonymized(tmp_path / "out", train=1, test=0)
    table = pd.read_parquet(out / "manifest.parquet")
    table["num_frames"] = 14
    table.to_parquet(out / "manifest.parquet")
    place, command = COMMANDS[name]
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"mine")
    before = everything(tmp_path / "out")
    with pytest.raises(UserError, match=r"exists already|has others"):
        command(out, path)
    assert path.read_bytes() == b"mine"
    assert everything(tmp_path / "out") == before
    shutil.rmtree(path.parent) if path.parent != tmp_path else path.unlink()
    command(out, path)  # and without it, twice
    command(out, path)
    assert path.read_bytes() != b"mine"


@pytest.mark.parametrize(
    "mine",
    [b"# notes\nno", b"# notes\n", b'{"mine": 1}', b'{"mine": 1}\n{"mine": 2}\n', b"x" * 9, b"\xff\xfe\n"],
)
def test_no_decision_goes_into_a_file_of_the_users(mine: bytes, tmp_path: Path) -> None:
    """Nor is a line of it ended or cut off; and a link is followed by none."""
    out = write_anonymized(tmp_path / "out", train=1, test=0)
    (out / "decisions.jsonl").write_bytes(mine)
    with pytest.raises(UserError, match=r"Line 1 of .*decisions\.jsonl is not a decision"):
        review(out, release=["hidden"], by="Ann", because="seen")
    assert (out / "decisions.jsonl").read_bytes() == mine
    (out / "decisions.jsonl").rename(tmp_path / "mine")
    for content in (mine, b""):
        (tmp_path / "mine").write_bytes(content)
        link(out / "decisions.jsonl", tmp_path / "mine")
        with pytest.raises(UserError, match="is a link, or not a file"):
            review(out, drop=["hidden"], by="Ann", because="seen")
        assert (tmp_path / "mine").read_bytes() == content
        (out / "decisions.jsonl").unlink()
    review(out, drop=["hidden"], by="Ann", because="seen")
    assert (out / "decisions.jsonl").read_bytes().startswith(b'{"video_id": "hidden"')


def test_a_report_removes_only_the_copies_that_it_made(tmp_path: Path) -> None:
    write_anonymized(tmp_path / "out", train=1, test=0)
    players = tmp_path / "report-files" / "players"
    players.mkdir(parents=True)
    (players / "holiday.mp4").write_bytes(b"mine")
    report(tmp_path)
    report(tmp_path)
    assert (players / "holiday.mp4").read_bytes() == b"mine"


# --- outputs are never sources --------------------------------------------------------------------------


def test_what_was_written_below_the_source_is_left_out_and_named(
    films: Films, run: Run, tmp_path: Path
) -> None:
    """As an earlier version did, or a copy: with the manifest, and with the provenance alone."""
    films.put(tmp_path / "videos/a.mp4", tmp_path / "videos/b.mp4")
    run(tmp_path / "videos", tmp_path / "out")
    shutil.copytree(tmp_path / "out", tmp_path / "videos/anonymized")
    (tmp_path / "videos/some").mkdir()
    for name in ("a.mp4", "a.avatar.mp4", "a.json"):
        shutil.copy(tmp_path / "out" / name, tmp_path / "videos/some" / name)
    found = find_source(tmp_path / "videos")
    assert [record.video_id for record in found.records] == ["a", "b"]
    written = [f"anonymized/{name}{end}.mp4" for name in "ab" for end in ("", ".avatar")]
    expected = {*written, "some/a.mp4", "some/a.avatar.mp4"}
    assert {reason: set(names) for reason, names in found.left_out.items()} == {
        "written by this project": expected
    }
    again = run(tmp_path / "videos", tmp_path / "out")
    assert (len(again.rows), again.reused) == (2, 2)
    assert "6 ignored, written by this project: anonymized/a.avatar.mp4" in str(again)
    globbed = find_source(f"{tmp_path}/videos/**/*.mp4")
    assert [record.video_id for record in globbed.records] == ["a", "b"]


def test_an_output_folder_and_an_output_are_refused(films: Films, run: Run, tmp_path: Path) -> None:
    films.put(tmp_path / "videos/a.mp4")
    run(tmp_path / "videos", tmp_path / "out")
    for source in (tmp_path / "out", tmp_path / "out/manifest.parquet"):
        with pytest.raises(UserError, match="outputs are never sources"):
            run(source, tmp_path / "again")
    for name in ("a.mp4", "a.avatar.mp4"):
        with pytest.raises(UserError, match="outputs are never sources"):
            run(tmp_path / "out" / name, tmp_path / "again")
    (tmp_path / "list.csv").write_text("path\nout/a.mp4\n")
    with pytest.raises(UserError, match="outputs are never sources"):
        run(tmp_path / "list.csv", tmp_path / "again")


def test_a_link_to_an_output_is_no_source(films: Films, run: Run, tmp_path: Path) -> None:
    films.put(tmp_path / "videos/a.mp4")
    run(tmp_path / "videos", tmp_path / "out")
    link(tmp_path / "videos/x.mp4", tmp_path / "out/a.mp4")
    link(tmp_path / "videos/y.mp4", tmp_path / "out/a.avatar.mp4")
    found = find_source(tmp_path / "videos")
    assert [record.video_id for record in found.records] == ["a"]
    assert set(found.left_out["written by this project"]) == {"x.mp4", "y.mp4"}


def test_outputs_are_known_by_their_mark_alone(films: Films, run: Run, tmp_path: Path) -> None:
    """Copied or linked under other names, and put into another MP4 file with their index at the end."""
    films.put(tmp_path / "videos/a.mp4", tmp_path / "videos/mine.mp4")
    run(tmp_path / "videos", tmp_path / "out")
    shutil.copy(tmp_path / "out/a.mp4", tmp_path / "videos/copy.mov")
    os.link(tmp_path / "out/a.avatar.mp4", tmp_path / "videos/link.mp4")
    with av.open(str(tmp_path / "out/a.mp4")) as old, av.open(str(tmp_path / "videos/new.mp4"), "w") as new:
        new.metadata.update(old.metadata)
        pictures = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = pictures
                new.mux(packet)
    found = find_source(tmp_path / "videos")
    assert [record.video_id for record in found.records] == ["a", "mine"]
    assert found.left_out == {"written by this project": ("copy.mov", "link.mp4", "new.mp4")}
    for name in found.left_out["written by this project"]:
        with pytest.raises(UserError, match="outputs are never sources"):
            run(tmp_path / "videos" / name, tmp_path / "again")


def test_no_film_of_a_users_has_the_mark(films: Films, field: Path, tmp_path: Path) -> None:
    for path in (films.a, *(path for path in field.rglob("*") if path.is_file()), tmp_path / "none"):
        assert not is_marked(path)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 2**32 - 1])
def test_boxes_without_an_end_are_no_mark(size: int, tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(b"\0\0\0\x14ftypisom\0\0\0\0isom" + size.to_bytes(4, "big") + b"moov" + b"\0" * 30_000)
    assert not is_marked(path)


def test_copies_in_a_report_are_no_sources(tmp_path: Path) -> None:
    write_anonymized(tmp_path / "out", train=1, test=0)
    report(tmp_path)
    (tmp_path / "x.mp4").write_bytes(b"a source")
    found = find_source(tmp_path)
    assert [record.video_id for record in found.records] == ["x"]
    assert "report-files/players/001.mp4" in found.left_out["written by this project"]


# --- names of outputs cannot collide --------------------------------------------------------------------


def outputs_of(video_id: str) -> set[str]:
    return {f"{video_id}{suffix}" for suffix in (".mp4", ".avatar.mp4", ".npz", ".json")}


def test_a_source_called_like_an_avatar_layer(films: Films, run: Run, tmp_path: Path) -> None:
    """It gets outputs of its own, and the layer of the other one stays a layer."""
    films.put(tmp_path / "videos/x.mp4", tmp_path / "videos/x.avatar.mp4")
    films.put(tmp_path / "videos/x.avatar.mp4")
    result = run(tmp_path / "videos", tmp_path / "out")
    one, two = (row.video_id for row in result.rows)
    assert result.done == 2, str(result)
    assert "x" in (one, two)
    assert not outputs_of(one) & outputs_of(two)
    assert prepare(tmp_path / "out", tmp_path / "clips", SIZE).failed == {}


PARTS = st.text(st.sampled_from("xyXé _.-a/") | st.sampled_from("vatr"), min_size=1, max_size=8)
ENDINGS = st.sampled_from(["", ".mp4", ".avi", ".avatar.mp4", ".avi.mp4", ".MP4", ".mp4.mp4"])


@given(st.lists(st.tuples(PARTS, ENDINGS), min_size=2, max_size=8, unique=True))
def test_no_two_files_below_a_folder_share_an_output(named: list[tuple[str, str]]) -> None:
    paths = {Path(os.path.normpath(f"./{part}{ending}".replace("//", "/"))) for part, ending in named}
    paths = {path for path in paths if path.name and ".." not in path.parts}
    ids = [stable_id(path) for path in paths]
    assert all(why_no_id(name) is None for name in ids)
    written = [name for video_id in ids for name in outputs_of(video_id)]
    assert len(set(written)) == len(written), (paths, ids)


@pytest.mark.parametrize("video_id", ["x.avatar", "x.AVATAR", "cost-plan"])
def test_ids_that_are_names_of_other_outputs_are_refused(video_id: str) -> None:
    with pytest.raises(UserError, match="rename it in the manifest"):
        VideoRecord(video_id=video_id, path="x.mp4")


def test_prepare_takes_no_layer_that_anonymize_did_not_write(tmp_path: Path) -> None:
    """Real pixels in place of an avatar layer, other masks, no provenance, that of another video."""
    out = write_anonymized(tmp_path / "out", train=5, test=0)
    shutil.copy(out / "v000.mp4", out / "v000.avatar.mp4")
    shutil.copy(out / "v000.npz", out / "v001.npz")
    (out / "v002.json").unlink()
    shutil.copy(out / "v000.json", out / "v003.json")
    result = prepare(out, tmp_path / "clips", SIZE)
    assert [video.video_id for video in ClipStore.open(tmp_path / "clips").videos] == ["v004"]
    assert "v000.avatar.mp4 is not the file that anonymize wrote for v000" in result.failed["v000"]
    assert "v001.npz is not the file that anonymize wrote for v001" in result.failed["v001"]
    assert "v002.json, which vouches for the avatar layer, is missing" in result.failed["v002"]
    assert "v003.json is of another video" in result.failed["v003"]


def test_a_layer_that_was_changed_after_it_was_prepared_is_looked_at_again(tmp_path: Path) -> None:
    out = write_anonymized(tmp_path / "out", train=2, test=0)
    assert prepare(out, tmp_path / "clips", SIZE).videos == 2
    shutil.copy(out / "v000.mp4", out / "v000.avatar.mp4")
    about = json.loads((out / "v000.json").read_text())
    about["outputs"]["v000.avatar.mp4"] = files.sha256_file(out / "v000.avatar.mp4")
    (out / "v000.json").write_text(json.dumps(about))  # as if it had been anonymized again
    assert prepare(out, tmp_path / "clips", SIZE).reused == 1


# --- ids are stable -------------------------------------------------------------------------------------


def ids(source: str | Path) -> dict[str, str]:
    """Ids by file."""
    return {os.path.realpath(record.path): record.video_id for record in read_source(source)}


def test_ids_do_not_depend_on_how_a_path_is_typed(
    films: Films, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("a.mp4", "sub/a.mp4", "sub/b.avi", "b.avi", "one clip.mp4", "deep/er/a.mp4")
    films.put(*(tmp_path / "videos" / name for name in names))
    link(tmp_path / "link", tmp_path)
    expected = ids(tmp_path / "videos")
    assert len(set(expected.values())) == len(names)
    (tmp_path / "elsewhere").mkdir()
    for folder in (tmp_path, tmp_path / "videos", tmp_path / "link", tmp_path / "elsewhere"):
        monkeypatch.chdir(folder)
        root = os.path.relpath(tmp_path, os.getcwd())
        for source in (
            f"{root}/videos",
            f"{root}/videos/",
            f"./{root}/videos/../videos",
            tmp_path / "link/videos",
            f"{tmp_path}/link/../{tmp_path.name}/videos"
            if folder != tmp_path / "link"
            else tmp_path / "videos",
            f"{root}/videos/**/*",
            f"{tmp_path}/videos/**/*",
        ):
            assert ids(source) == expected, (folder, source)


def test_ids_of_a_table_start_at_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/list.csv").write_text(
        f"path\nv/a.mp4\n./v/b.mp4\n{tmp_path}/data/v/c.mp4\nv/../v/d.mp4\n"
    )
    wanted = ["v__a", "v__b", "v__c", "v__d"]
    for folder, table in ((tmp_path, "data/list.csv"), (tmp_path / "data", "list.csv"), ("/", None)):
        monkeypatch.chdir(folder)
        records = read_source(table or tmp_path / "data/list.csv")
        assert [record.video_id for record in records] == wanted


def test_a_table_elsewhere_names_its_videos_alike_through_links(
    films: Films, run: Run, tmp_path: Path
) -> None:
    films.put(tmp_path / "videos/a.mp4")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/list.csv").write_text("path\n../videos/a.mp4\n")
    link(tmp_path / "link", tmp_path)
    one, two = (read_source(tmp_path / way / "tables/list.csv")[0] for way in (".", "link"))
    assert one.video_id == two.video_id
    run(tmp_path / "videos", tmp_path / "out")
    assert run(tmp_path / "link/tables/list.csv", tmp_path / "out").reused == 1
    assert set(read_manifest(tmp_path / "out")) == {"a"}


@given(
    names=st.lists(
        st.sampled_from(["x.mp4", "x.avi", "x.MP4", "a/x.mp4", "a__x.mp4", "x.avi.mp4", "x .mp4"]),
        unique=True,
    )
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_that_appears_beside_another_changes_no_id(
    names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("videos")
    known: dict[str, str] = {}
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
        now = ids(folder)
        assert known.items() <= now.items()
        known = now
    assert len(set(known.values())) == len(names)


def rewritten(out: Path, rename: dict[str, str]) -> None:
    """Give videos of an output folder other ids, as an earlier version named them."""
    rows = read_manifest(out)
    changed: list[Row] = []
    for row in rows.values():
        new = rename.get(row.video_id, row.video_id)
        about = json.loads((out / f"{row.video_id}.json").read_text())
        row = dataclasses.replace(row, video_id=new, path=f"{new}.mp4")
        names = {name: name.replace(about["video_id"], new, 1) for name in about["outputs"]}
        about["outputs"] = {names[name]: digest for name, digest in about["outputs"].items()}
        for old, name in names.items():
            (out / old).rename(out / name)
        (out / f"{about['video_id']}.json").unlink()
        about |= {"video_id": new, "row": dataclasses.asdict(row)}
        (out / f"{new}.json").write_text(json.dumps(about))
        changed.append(row)
    write_manifest(out, changed)


@pytest.mark.parametrize("moved", [False, True])
def test_an_output_folder_with_old_ids_doubles_nothing(
    films: Films, run: Run, tmp_path: Path, moved: bool
) -> None:
    films.put(tmp_path / "videos/a.mp4", tmp_path / "videos/b.mp4")
    out = tmp_path / "out"
    run(tmp_path / "videos", out)
    rewritten(out, {"a": "a-1a2b3c4d"})
    source = tmp_path / "videos"
    if moved:  # then the content tells
        source = source.rename(tmp_path / "elsewhere")
    again = run(source, out)
    assert [row.video_id for row in again.rows] == ["a-1a2b3c4d", "b"]
    assert again.reused == 2
    assert set(read_manifest(out)) == {"a-1a2b3c4d", "b"}


def test_another_video_of_the_same_name_replaces_none(films: Films, run: Run, tmp_path: Path) -> None:
    """As cameras name theirs each day anew. What its user moved, copied or replaced is the same one."""
    films.put(tmp_path / "monday/a.mp4", tmp_path / "tuesday/a.mp4")
    out = tmp_path / "out"
    run(tmp_path / "monday", out)
    before = everything(out)
    with pytest.raises(
        UserError, match=r"the id a is of .*monday/a\.mp4, and .*tuesday/a\.mp4 would replace it"
    ):
        run(tmp_path / "tuesday", out)
    assert everything(out) == before
    shutil.copytree(tmp_path / "monday", tmp_path / "copy")
    assert run(tmp_path / "copy", out).reused == 1
    shutil.rmtree(tmp_path / "monday")
    shutil.copy(films.b, tmp_path / "copy/a.mp4")
    assert run(tmp_path / "copy", out).done == 1  # the film of one place has changed


def test_a_file_and_then_its_folder_are_one_record(films: Films, run: Run, tmp_path: Path) -> None:
    films.put(tmp_path / "videos/sub/a.mp4", tmp_path / "videos/b.mp4")
    out = tmp_path / "out"
    run(tmp_path / "videos/sub/a.mp4", out)
    assert run(tmp_path / "videos", out).reused == 1
    assert set(read_manifest(out)) == {"a", "b"}


def test_the_same_content_under_two_ids_is_said(films: Films, run: Run, tmp_path: Path) -> None:
    films.put(tmp_path / "videos/a.mp4", tmp_path / "videos/b.mp4", tmp_path / "videos/x.mp4")
    assert "a and x have the same content, but are 2 records" in str(
        run(tmp_path / "videos", tmp_path / "out")
    )


@pytest.mark.parametrize("foreign", ["a.frames.npy", "a.masks.npy", "a.json"])
@pytest.mark.parametrize("when", ["before", "since"])
def test_prepare_sets_aside_what_is_not_its_own_among_the_clips(
    films: Films, tmp_path: Path, foreign: str, when: str
) -> None:
    """Where a copied store.json makes the folder a store, and where a file was changed since."""
    films.put(tmp_path / "videos/a.mp4")
    prepare(tmp_path / "videos", tmp_path / "clips", SIZE)
    out = tmp_path / "clips"
    if when == "before":
        out = tmp_path / "other"
        (out / "clips").mkdir(parents=True)
        shutil.copy(tmp_path / "clips/store.json", out)
    (out / "clips" / foreign).write_bytes(b"mine")
    if when == "before":
        with pytest.raises(UserError, match=r"store\.json exists already and is not unchanged output"):
            prepare(tmp_path / "videos", out, SIZE)
        kept = out / "clips" / foreign  # refused before any work
    else:
        assert prepare(tmp_path / "videos", out, SIZE).videos == 1
        (kept,) = (out / "clips").glob(f"{foreign}.set-aside-*")
    assert kept.read_bytes() == b"mine"


def test_prepare_goes_on_after_a_kill(films: Films, tmp_path: Path) -> None:
    """Arrays whose JSON was never written are its own."""
    films.put(tmp_path / "videos/a.mp4")
    out = tmp_path / "clips"
    prepare(tmp_path / "videos", out, SIZE)
    (out / "clips/a.json").unlink()
    (out / "clips/a.masks.npy").unlink()
    result = prepare(tmp_path / "videos", out, SIZE)
    assert result.videos == 1
    assert not result.failed
    assert prepare(tmp_path / "videos", out, SIZE).reused == 1


def test_a_store_of_somebody_elses_is_one_sentence(films: Films, tmp_path: Path) -> None:
    films.put(tmp_path / "videos/a.mp4")
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/store.json").write_text('{"mine": 1}')
    with pytest.raises(UserError, match="is not of a clip store that prepare wrote"):
        prepare(tmp_path / "videos", tmp_path / "clips", SIZE)


def test_a_note_beside_the_output_folder_is_not_written_over(films: Films, run: Run, tmp_path: Path) -> None:
    films.put(tmp_path / "videos/a.mp4")
    note = tmp_path / ".out.progress"
    note.write_text("mine")
    with pytest.raises(UserError, match="is the place of a note of the run"):
        run(tmp_path / "videos", tmp_path / "out")
    assert note.read_text() == "mine"


@pytest.mark.parametrize("there", [True, False])
def test_a_manifest_that_is_a_link_stays_one(films: Films, run: Run, tmp_path: Path, there: bool) -> None:
    """As tools that keep versions of large files make of it; nothing is written over, and nothing is done."""
    films.put(tmp_path / "videos/a.mp4")
    out = tmp_path / "out"
    run(tmp_path / "videos", out)
    shutil.move(out / "manifest.parquet", tmp_path / "kept")
    link(out / "manifest.parquet", tmp_path / ("kept" if there else "nothing"))
    films.put(tmp_path / "videos/b.mp4")
    before = everything(tmp_path)
    with pytest.raises(UserError, match=r"manifest\.parquet is a link, and its target is not overwritten"):
        run(tmp_path / "videos", out)
    assert everything(tmp_path) == before
    assert (out / "manifest.parquet").is_symlink()


def test_a_column_that_was_added_to_the_table_stays(films: Films, run: Run, tmp_path: Path) -> None:
    films.put(tmp_path / "videos/a.mp4")
    out = tmp_path / "out"
    run(tmp_path / "videos", out)
    table = pd.read_parquet(out / "manifest.parquet")
    table["my_note"] = "keep me"
    table.to_parquet(out / "manifest.parquet", index=False)
    films.put(tmp_path / "videos/b.mp4")
    assert run(tmp_path / "videos", out).reused == 1
    notes = pd.read_parquet(out / "manifest.parquet").set_index("video_id").my_note
    assert notes["a"] == "keep me"
    assert pd.isna(notes["b"])


def test_the_folder_of_chunks_keeps_its_rights(films: Films, tmp_path: Path) -> None:
    films.put(tmp_path / "videos/a.mp4")
    chunks = tmp_path / "chunks"
    chunks.mkdir(mode=0o755)
    chosen = dataclasses.replace(films.settings, chunks=chunks)
    anonymize(tmp_path / "videos", tmp_path / "out", chosen, progress=False)
    assert chunks.stat().st_mode & 0o777 == 0o755


# --- the same on an object store ------------------------------------------------------------------------


@pytest.fixture
def store(films: Films) -> Iterator[str]:
    """A bucket with the film `a` below `films`."""
    with served():
        storage.publish(films.a, f"{BUCKET}/films/a.mp4")
        yield BUCKET


def objects(url: str) -> dict[str, bytes]:
    return {name: storage.read(f"{url}/{name}") for name in storage.versions(url)}


def test_objects_of_the_users_stay(store: str, run: Run) -> None:
    for out in (f"{store}/films", f"{store}/films/", f"{store}/films//out", f"{store}"):
        with pytest.raises(UserError, match="same or one is in the other"):
            run(f"{store}/films", out)
    storage.write(f"{store}/out/a.avatar.mp4", b"mine")
    with pytest.raises(UserError, match=r"a\.avatar\.mp4 exists already"):
        run(f"{store}/films", f"{store}/out")
    assert objects(f"{store}/out")["a.avatar.mp4"] == b"mine"


def test_objects_are_withdrawn_as_they_were_written(store: str, run: Run) -> None:
    out = f"{store}/out"
    assert run(f"{store}/films", out).done == 1
    storage.write(f"{out}/a.npz", b"mine")
    storage.write(f"{out}/b.mp4", b"mine, too")
    unpublish(out, "a")
    unpublish(out, "b")
    left = objects(out)
    del left["manifest.parquet"]
    assert left == {"a.npz": b"mine", "b.mp4": b"mine, too"}


@pytest.mark.parametrize(
    "coming", [["mine/holiday.mp4"], {"mine/holiday.mp4": "0" * 64}, {"b.mp4": "0" * 64}]
)
def test_a_claim_removes_nothing_that_it_does_not_describe(store: str, coming: object) -> None:
    """Neither elsewhere, nor with another content than was about to be brought."""
    claim = {"video_id": "b", "outputs": {}, "config_sha256": "x", "stored": {}, "coming": coming}
    storage.write(f"{store}/out/b.json", json.dumps(claim).encode())
    storage.write(f"{store}/out/b.mp4", b"mine")
    storage.write(f"{store}/out/mine/holiday.mp4", b"mine, too")
    unpublish(f"{store}/out", "b")
    assert objects(f"{store}/out") == {"b.mp4": b"mine", "mine/holiday.mp4": b"mine, too"}


def test_an_object_that_was_changed_is_set_aside(store: str, run: Run) -> None:
    out = f"{store}/out"
    run(f"{store}/films", out)
    written = objects(out)
    storage.write(f"{out}/a.mp4", b"mine")
    run(f"{store}/films", out)
    after = objects(out)
    (aside,) = after.keys() - written.keys()
    assert aside.startswith("a.mp4.set-aside-")
    assert after[aside] == b"mine"
    assert after["a.mp4"] == written["a.mp4"]


def test_two_machines_do_not_write_to_one_place_on_a_store(
    store: str, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The table of the one would lack the videos of the other. A killed run blocks no later one."""
    out = f"{store}/out"
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    monkeypatch.setattr(progress, "BEAT_SECONDS", 2)
    monkeypatch.setattr(progress, "SILENT_SECONDS", 10)
    monkeypatch.setenv("RAYMASKDP_CACHE", one)
    with progress.record_progress(out, 1):
        note = storage.read(f"{out}/{progress.STORED}")
        progress.require_alone(out)  # the lock tells of runs here
        monkeypatch.setenv("RAYMASKDP_CACHE", other)
        with pytest.raises(UserError, match="A run of another machine writes to s3://"):
            run(f"{store}/films", out)
        assert set(objects(out)) == {progress.STORED}
    storage.write(f"{out}/{progress.STORED}", note)
    assert run(f"{store}/films", out).done == 1
    assert progress.STORED not in objects(out)


def test_prepare_keeps_the_objects_of_others(films: Films, store: str, tmp_path: Path) -> None:
    """Under another name; its own of an earlier call, with other labels say, are simply replaced."""
    films.put(tmp_path / "videos/a.mp4")
    storage.write(f"{store}/clips/clips/a.frames.npy", b"mine")
    storage.write(f"{store}/clips/clips/a.json", b'{"mine": 1}')
    assert prepare(tmp_path / "videos", f"{store}/clips", SIZE).videos == 1
    kept = {name: content for name, content in objects(f"{store}/clips/clips").items() if "set-aside" in name}
    assert sorted(kept.values()) == [b"mine", b'{"mine": 1}']
    before = set(objects(f"{store}/clips/clips"))
    storage.write(f"{store}/clips/clips/a.json", b"{}")
    prepare(tmp_path / "videos", f"{store}/clips", SIZE)
    assert prepare(tmp_path / "videos", f"{store}/clips", SIZE).reused == 1
    assert before < set(objects(f"{store}/clips/clips"))
    ClipStore.open(f"{store}/clips")


def test_outputs_on_a_store_are_no_sources(store: str, run: Run) -> None:
    run(f"{store}/films", f"{store}/out")
    for name, content in objects(f"{store}/out").items():
        storage.write(f"{store}/films/anonymized/{name}", content)
        if name != "manifest.parquet":
            storage.write(f"{store}/films/some/{name}", content)
    found = find_source(f"{store}/films")
    assert [record.video_id for record in found.records] == ["a"]
    assert set(found.left_out["written by this project"]) == {
        f"{folder}/a{end}.mp4" for folder in ("anonymized", "some") for end in ("", ".avatar")
    }
    with pytest.raises(UserError, match="outputs are never sources"):
        run(f"{store}/out", f"{store}/again")
    storage.write(f"{store}/renamed/b.mp4", storage.read(f"{store}/out/a.mp4"))
    (row,) = run(f"{store}/renamed", f"{store}/again").rows
    assert (row.status, "outputs are never sources" in row.reason) == ("failed", True)
