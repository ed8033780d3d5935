"""A source that is replaced or written meanwhile: every pass is over the content with the digest."""

import dataclasses
import os
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from object_store import BUCKET, served
from support.field_films import Films, Run

from raymaskdp import storage
from raymaskdp.anonymize.background.background import masked_frames
from raymaskdp.anonymize.item import Analyzed, BackgroundSharing, Decided, Pending
from raymaskdp.anonymize.object_store import StoreStages
from raymaskdp.anonymize.output.secret import SecretFile
from raymaskdp.anonymize.pipeline import in_process
from raymaskdp.anonymize.shared_background import Observe
from raymaskdp.anonymize.stages import Analyze, Job, Synthesize
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError
from raymaskdp.files import sha256_file
from raymaskdp.train import PrepareConfig
from raymaskdp.video.audio import add_sound
from raymaskdp.video.containers.same_file import SameFile, look
from raymaskdp.video.mask_film import MaskFilm
from raymaskdp.video.reader import probe, stream

preparing = import_module("raymaskdp.train.preparation")  # `raymaskdp.train.prepare` is the function

CHANGED = "was replaced or changed while it was worked on"


def moved_over(path: Path, other: Path) -> None:
    shutil.copy(other, path.with_name("new"))
    os.replace(path.with_name("new"), path)


def written_over(path: Path, other: Path) -> None:
    path.write_bytes(other.read_bytes())


def written_and_set_back(path: Path, other: Path) -> None:
    """With the size and the time of the last write of the film that was there."""
    status = path.stat()
    path.write_bytes(other.read_bytes()[: status.st_size].ljust(status.st_size, b"\0"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


CHANGES = [moved_over, written_over, written_and_set_back]


@pytest.fixture
def job(films: Films, tmp_path: Path) -> Job:
    for name in ("out", "work", "plates"):
        (tmp_path / name).mkdir()
    secret = SecretFile.at(films.settings.secret_file or Path())
    return Job(out=tmp_path / "out", work=tmp_path / "work", secret=secret, plates=tmp_path / "plates")


def pending(path: str | Path, **more: object) -> Pending:
    return Pending(record=VideoRecord(video_id=Path(path).stem, path=str(path)), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", CHANGES)
def test_another_film_between_two_passes_fails_the_video(
    films: Films, job: Job, tmp_path: Path, change: Callable[[Path, Path], None]
) -> None:
    """People were found in one film; the composite would be of another."""
    films.put(path := tmp_path / "videos/a.mp4")
    analyzed = Analyze(films.settings, job)(pending(path))
    assert isinstance(analyzed, Analyzed)
    change(path, films.b)
    decided = Synthesize(films.settings, job)(analyzed)
    assert isinstance(decided, Decided)
    assert (decided.status, CHANGED in decided.reasons[0]) == ("failed", True)
    assert not any(job.out.iterdir())


def test_a_film_that_is_only_touched_or_copied_back_is_done(films: Films, job: Job, tmp_path: Path) -> None:
    films.put(path := tmp_path / "videos/a.mp4")
    analyzed = Analyze(films.settings, job)(pending(path))
    moved_over(path, films.a)
    decided = Synthesize(films.settings, job)(analyzed)
    assert isinstance(decided, Decided)
    assert (decided.status, decided.reasons) == ("done", ())


@pytest.mark.parametrize("change", CHANGES)
def test_another_film_during_a_pass_is_noticed_at_its_end(
    films: Films, tmp_path: Path, change: Callable[[Path, Path], None]
) -> None:
    films.put(path := tmp_path / "a.mp4")
    film = SameFile.digested(path, look(path))
    info = probe(path)
    frames = masked_frames(film, MaskFilm(info.num_frames, -(-info.width * info.height // 8)))
    next(frames)
    change(path, films.b)
    if change is written_and_set_back:  # the next pass, or the last look before publishing
        with pytest.raises(UserError, match=CHANGED):
            film.require_same()
        return
    with pytest.raises(UserError, match=CHANGED):
        list(frames)


def test_a_film_that_is_brought_back_in_time_was_another_in_between(films: Films, tmp_path: Path) -> None:
    films.put(path := tmp_path / "a.mp4")
    film = SameFile.digested(path, look(path))
    os.replace(path, tmp_path / "aside")
    shutil.copy(films.b, path)
    frames = stream(film)
    with pytest.raises(UserError, match=CHANGED):
        next(frames)
    os.replace(tmp_path / "aside", path)
    assert len(list(stream(film))) == probe(path).num_frames
    path.unlink()
    with pytest.raises(UserError, match="is gone"):
        film.require_same()


def test_sound_is_of_the_same_film(films: Films, tmp_path: Path) -> None:
    films.put(path := tmp_path / "a.mp4", silent := tmp_path / "b.mp4")
    film = SameFile.digested(path, look(path))
    moved_over(path, films.b)
    with pytest.raises(UserError, match=CHANGED):
        add_sound(silent, film)


def test_another_film_lends_no_background(films: Films, job: Job, tmp_path: Path) -> None:
    """Hours may pass between the first look at the videos of a camera, and their last."""
    films.put(path := tmp_path / "videos/a.mp4")
    assert job.plates is not None
    sharing = BackgroundSharing(camera="c", plates=job.plates)
    analyzed = Analyze(films.settings, job)(pending(path, shares=sharing))
    assert isinstance(analyzed, Analyzed)
    moved_over(path, films.b)
    observed = Observe(films.settings, job)(analyzed)
    assert isinstance(observed, Decided)
    assert CHANGED in observed.reasons[0]
    assert not any(job.plates.iterdir())


def test_another_film_after_the_backgrounds_are_shared_fails(films: Films, job: Job, tmp_path: Path) -> None:
    films.put(one := tmp_path / "videos/a.mp4", two := tmp_path / "videos/b.mp4")
    assert job.plates is not None
    sharing = BackgroundSharing(camera="c", plates=job.plates)
    items = [pending(path, shares=sharing) for path in (one, two)]
    items = [dataclasses.replace(item, record=dataclasses.replace(item.record, camera="c")) for item in items]
    decided: dict[str, Decided] = {}
    seen = 0
    for item in in_process(items, films.settings, job):
        seen += isinstance(item, Analyzed)
        if seen == 2 and isinstance(item, Analyzed):  # both were observed
            moved_over(one, films.b)
        if isinstance(item, Decided):
            decided[item.record.video_id] = item
    assert (decided["a"].status, decided["b"].status) == ("failed", "done")
    assert CHANGED in decided["a"].reasons[0]
    assert {path.name for path in job.out.iterdir() if path.name.startswith("a")} == set()


def test_another_object_at_the_url_of_a_source_fails(films: Films, job: Job, tmp_path: Path) -> None:
    """It is fetched again for the later stages."""
    url = f"{BUCKET}/films/a.mp4"
    with served():
        storage.publish(films.a, url)
        analyzed = StoreStages([Analyze], films.settings, job)(pending(url))
        assert isinstance(analyzed, Analyzed)
        storage.publish(films.b, url)
        decided = StoreStages([Synthesize], films.settings, job)(analyzed)
        assert isinstance(decided, Decided)
        assert (decided.status, CHANGED in decided.reasons[0], url in decided.reasons[0]) == (
            "failed",
            True,
            True,
        )
        storage.publish(films.a, url)
        same = StoreStages([Synthesize], films.settings, job)(analyzed)
        assert isinstance(same, Decided)
        assert same.status == "done"


@pytest.mark.parametrize("people", ["avatar", "blurred"])
def test_prepare_stores_no_film_that_is_replaced_meanwhile(
    films: Films, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, people: str
) -> None:
    """The avatar layer is public only while it is what anonymize wrote."""
    films.put(source := tmp_path / "videos/a.mp4")
    run(tmp_path / "videos", tmp_path / "out")
    path = tmp_path / "out/a.avatar.mp4" if people == "avatar" else source
    name = "masked_views" if people == "avatar" else "control_views"
    views = getattr(preparing, name)

    def late(*args: object) -> object:
        made = views(*args)
        moved_over(path, films.b)
        return made

    monkeypatch.setattr(preparing, name, late)
    settings = PrepareConfig(width=32, height=24, people=people)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=CHANGED):
        preparing.prepare(tmp_path / "out", tmp_path / "clips", settings)
    assert not list((tmp_path / "clips").rglob("*.npy"))


def test_prepare_of_a_plain_film_that_is_replaced_meanwhile(
    films: Films, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films.put(path := tmp_path / "videos/a.mp4")
    views = preparing.masked_views

    def late(*args: object) -> object:
        moved_over(path, films.b)
        return views(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(preparing, "masked_views", late)
    with pytest.raises(UserError, match=CHANGED):
        preparing.prepare(tmp_path / "videos", tmp_path / "clips", PrepareConfig(width=32, height=24))
    assert sha256_file(path) == sha256_file(films.b)
