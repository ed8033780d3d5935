"""The first stage: finds people and fits bodies."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

from raymaskdp.anonymize.compose.overlap import drop_misplaced_avatars
from raymaskdp.anonymize.compose.scene import Scene, avatars_of
from raymaskdp.anonymize.compose.unseen_legs import hide_unseen_legs
from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.item import Analyzed, Decided, Item, Pending
from raymaskdp.anonymize.outcome import (
    doubt_reasons,
    lost_frames,
    plain_metrics,
    quarantined,
    run_item,
    timed,
    unfitted,
    unreleased,
)
from raymaskdp.anonymize.output.unfinished import (
    chunks_folder,
    forget_chunks,
    load_analysis,
    save_analysis,
)
from raymaskdp.anonymize.people.scoring import score
from raymaskdp.anonymize.people.sources import pose_source
from raymaskdp.anonymize.pools import FIND
from raymaskdp.anonymize.self_test import known_item
from raymaskdp.anonymize.stages.job import Job
from raymaskdp.anonymize.text.detector import TextDetector
from raymaskdp.anonymize.text.film import find_text
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.fitting.fit import FitBodies
from raymaskdp.errors import UserError
from raymaskdp.video import reader, sandbox
from raymaskdp.video.audio import damaged_sound
from raymaskdp.video.containers.mark import is_marked
from raymaskdp.video.containers.same_file import SameFile, look
from raymaskdp.video.mask_film import MaskFilm


class Analyze:
    """Finds people and fits bodies: a pending video becomes an analyzed one, or is decided."""

    pool = FIND

    def __init__(self, config: AnonymizeConfig, job: Job) -> None:
        self._job = job
        self._config_sha256 = config.digest()
        self._secret = job.secret.read()
        self._body = config.body
        self._looks = config.pose.source == "mediapipe"
        self._find_people = pose_source(config.pose, config.needs(FIND).share)
        self._fit_bodies = FitBodies(config.fit, config.body)
        self._on_doubt = config.on_doubt
        self._decode = config.decode
        self._keep_audio = config.composite.keep_audio
        self._text = TextDetector() if config.plate.text == "remove" else None
        self._draw_held = config.composite.keep_objects != "none"

    def __call__(self, item: Item) -> Item:
        """A pending video, analyzed, or decided (failed or quarantined); any other unchanged."""
        if not isinstance(item, Pending):
            return item
        analyzed = run_item(self._analyze, item)
        if isinstance(analyzed, Decided):
            forget_chunks(self._job.chunks, self._job.secret, analyzed, self._config_sha256)
        return analyzed

    def self_test(self, folder: Path) -> None:
        """Process a known video in `folder`; raises the error of a faulty machine."""
        item = known_item(folder, self._decode)
        # With poses from files there are none for it.
        with contextlib.nullcontext() if self._looks else contextlib.suppress(UserError):
            self._find_people(reader.VideoFrames(item.source), item.info, item.record)

    def _analyze(self, item: Pending) -> Analyzed | Decided:
        path = item.source
        if is_marked(path):  # detected earlier, except for objects of a store
            raise UserError(f"{item.record.path} was written by this project; outputs are never sources.")
        seen = look(path)
        info = sandbox.probe(path, self._decode)
        film = SameFile.digested(path, seen)
        known: dict[str, Any] = {"info": info, "source_sha256": film.sha256}
        folder = chunks_folder(
            self._job.chunks, self._job.secret, item, known["source_sha256"], self._config_sha256
        )
        if folder is not None and (kept := load_analysis(folder)) is not None:
            return Analyzed.after(item, source_seen=film.seen, **known, **kept)
        seconds: dict[str, Any] = {}
        if self._keep_audio and (lost := damaged_sound(film)):  # raises before the work if no packet decodes
            seconds["sound_packets_lost"] = lost
        with timed(seconds, "seconds_pose"):
            people = self._find_people(reader.VideoFrames(film), info, item.record)
        known["num_people"] = len(people.persons)
        avatars = avatars_of(item.record, len(people.persons), self._secret)
        with timed(seconds, "seconds_fit"):
            fitted = self._fit_bodies(people, info, avatars)
            motions = drop_misplaced_avatars(fitted, people, load_body(self._body))
            motions = hide_unseen_legs(motions, people)
        if self._on_doubt == "quarantine":
            problems = unreleased(item, [*doubt_reasons(people), *unfitted(people, motions)])
            if problems:
                doubted = [doubt.frame for doubt in people.doubts]
                return quarantined(item, problems, doubted, metrics=seconds, **known)
        seconds["doubts"] = dict(Counter(doubt.reason for doubt in people.doubts))
        seconds["unposed"] = {
            "no body fits: too little of the person in view, unclear, or turning too fast": lost_frames(
                people.persons, fitted
            ),
            "the body would stand beside the person": lost_frames(fitted, motions),
        }
        metrics: dict[str, Any] = dict(seconds)
        if item.truth is not None:
            metrics["truth"] = plain_metrics(score(people, motions, item.truth, load_body(self._body)))
        text = self._text_of(film, info, metrics)
        film.require_same()
        packed = Scene.of(people, motions, draw_held=self._draw_held, text_TB=text).pack()
        analyzed = Analyzed.after(item, source_seen=film.seen, analysis=packed, metrics=metrics, **known)
        if folder is not None:
            save_analysis(folder, analyzed)
        return analyzed

    def _text_of(self, film: SameFile, info: reader.VideoInfo, metrics: dict[str, Any]) -> MaskFilm | None:
        """The text that is removed, and its figures in `metrics`; None if text is kept."""
        if self._text is None:
            return None
        with timed(metrics, "seconds_text"):
            found = find_text(reader.VideoFrames(film), info, self._text)
        metrics["text_lines"] = found.lines
        return found.masks_TB
