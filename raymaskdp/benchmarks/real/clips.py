"""Results of `anonymize` on real clips: how many are done, by which rungs, and how many people remain
visible.

`raymaskdp benchmark real DIR`. DIR has clips, an `index.csv` (file, category, …), and, for recall,
`stills/NAME.jpg` with `people.csv` (still, left, top, right, bottom as fractions, kind). Kinds are "none" for
a still without people, "ignore" for a region that does not count, and any others.

Shape suffixes: H rows, W columns, N boxes.
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from raymaskdp.anonymize import anonymize
from raymaskdp.anonymize.output.manifest import Row
from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.box_search import BoxSearch
from raymaskdp.anonymize.people.frame_detector import quarters
from raymaskdp.anonymize.people.networks.from_settings import configured_networks
from raymaskdp.anonymize.people.networks.multipose import MultiPose
from raymaskdp.anonymize.people.networks.nanodet import NanoDet
from raymaskdp.anonymize.verify.config import VerifyConfig
from raymaskdp.anonymize.verify.look_again import LookAgain
from raymaskdp.benchmarks.real.pose_agreement import AVATAR_SHARE, PoseAgreement, pose_agreement
from raymaskdp.benchmarks.settings.videos import RealConfig
from raymaskdp.errors import UserError
from raymaskdp.files import atomic_path
from raymaskdp.video import masks, reader
from raymaskdp.video.reader import VideoInfo

RUNGS = ("avatars", "silhouettes", "background", "filled", "blank")

FOUND_IOU = 0.3
"""Least overlap (IoU) of a box with a marked person; `FOUND_INSIDE` of the marked box inside it suffices,
too."""

FOUND_INSIDE = 0.7

FATES = ("avatar", "covered otherwise", "in sight", "not published")
"""Outcomes of a marked person."""

COVERED_SHARE = 0.6
"""Least share of a marked person's box that a redaction covers; `AVATAR_SHARE` that an avatar fills."""

SAME_FRAME = 12.0
"""Largest mean difference in levels of small copies of a still and of its frame."""

SURE = 0.5  # least score of a person by NanoDet

EXPLAINED = 0.3
"""Least share of a detection in an output that avatars and redactions must cover to explain it."""


@dataclass(frozen=True, kw_only=True)
class ClipOutcome:
    """One clip.

    Attributes:
      status, reason: of the row.
      person_frames: by rung of the ladder.
      seen: numbers of processed frames with an unexplained detection by the detectors of verification.
      seen_by_nanodet: the same by NanoDet, in the frame and its quarters. It took part in detection, and not
        in verification.
      milliseconds: of a worker, a frame.
    """

    name: str
    category: str
    status: str
    reason: str
    person_frames: dict[str, int]
    seen: tuple[int, ...]
    seen_by_nanodet: tuple[int, ...]
    milliseconds: float


@dataclass(frozen=True, kw_only=True)
class RealResult:
    """The results of all clips.

    Attributes:
      recall: detected people of those marked in stills, by kind: (found, marked).
      false_boxes: false detections in stills.
      stills: number of stills.
      fates: outcomes of marked people in the frames of the stills, as `FATES`.
      poses: agreement of the avatars' poses with the people's, in the processed frames.
    """

    clips: tuple[ClipOutcome, ...]
    recall: dict[str, tuple[int, int]]
    false_boxes: int
    stills: int
    fates: dict[str, int]
    poses: PoseAgreement

    def __str__(self) -> str:
        status = Counter(clip.status for clip in self.clips)
        rungs: Counter[str] = Counter()
        for clip in self.clips:
            if clip.status == "done":
                rungs.update(clip.person_frames)
        people = max(1, sum(rungs.values()))
        lines = [
            f"{len(self.clips)} clips: {status['done']} done, {status['quarantined']} quarantined, "
            f"{status['failed']} failed",
            "person-frames: " + ", ".join(f"{rungs[name] / people:.1%} {name}" for name in RUNGS),
            f"clips with an unexplained detection: {sum(bool(clip.seen) for clip in self.clips)}; "
            f"by NanoDet: {sum(bool(clip.seen_by_nanodet) for clip in self.clips)}",
            str(self.poses),
            f"milliseconds a frame: {np.median([clip.milliseconds for clip in self.clips]):.0f} (median)",
        ]
        if self.stills:
            found, marked = (sum(pair[at] for pair in self.recall.values()) for at in (0, 1))
            kinds = ", ".join(f"{kind} {a} of {b}" for kind, (a, b) in sorted(self.recall.items()))
            lines.append(
                f"people found in {self.stills} stills: {found} of {marked} ({kinds}); "
                f"{self.false_boxes} false boxes"
            )
            fates = ", ".join(f"{self.fates.get(fate, 0)} {fate}" for fate in FATES)
            lines.append(f"marked people in these frames of outputs: {fates}")
        for clip in self.clips:
            shown = " ".join(f"{name}={clip.person_frames.get(name, 0)}" for name in RUNGS)
            seen = f" SEEN IN {list(clip.seen)}" if clip.seen else ""
            if clip.seen_by_nanodet:
                seen += f" BY NANODET IN {list(clip.seen_by_nanodet)}"
            line = f"  {clip.name:24} {clip.status:12} {shown} {clip.milliseconds:.0f} ms{seen} {clip.reason}"
            lines.append(line.rstrip())
        return "\n".join(lines)


def benchmark_real(folder: Path, out: Path, config: RealConfig) -> RealResult:
    """Anonymize the clips of a folder and measure the results.

    Args:
      folder: clips with an index.
      out: the folder for the outputs; an interrupted run resumes.

    Raises `UserError` without an index.
    """
    index = _index(folder, config.only)
    with tempfile.TemporaryDirectory() as temporary:
        manifest = Path(temporary) / "clips.csv"
        with open(manifest, "w", encoding="utf-8", newline="") as opened:
            writer = csv.writer(opened)
            writer.writerow(["video_id", "path"])
            writer.writerows((Path(row["file"]).stem, (folder / row["file"]).resolve()) for row in index)
        result = anonymize(manifest, out, config.anonymize)
    rows = {row.video_id: row for row in result.rows}
    detectors = (LookAgain(VerifyConfig()), _nanodet(NanoDet()))
    clips = tuple(
        _outcome(rows[Path(entry["file"]).stem], entry.get("category", ""), out, detectors, config.every)
        for entry in tqdm(index, "look at outputs", unit="clip")
    )
    network = MultiPose()
    poses = sum(
        (
            pose_agreement(
                folder / entry["file"],
                out / f"{Path(entry['file']).stem}.mp4",
                out / f"{Path(entry['file']).stem}.npz",
                every=config.every,
                network=network,
            )
            for entry in tqdm(index, "compare poses", unit="clip")
            if rows[Path(entry["file"]).stem].status == "done"
        ),
        PoseAgreement(),
    )
    if config.sheet is not None:
        sources = [folder / row["file"] for row in index]
        _sheet([(source, out / f"{source.stem}.mp4") for source in sources], config.sheet)
    search = BoxSearch(configured_networks(config.anonymize.pose).detector)
    recall, false_boxes, stills = _recall(folder, {Path(row["file"]).stem for row in index}, search)
    return RealResult(
        clips=clips,
        recall=recall,
        false_boxes=false_boxes,
        stills=stills,
        fates=dict(Counter(_fates(folder, index, out))),
        poses=poses,
    )


def _index(folder: Path, only: Sequence[str]) -> list[dict[str, str]]:
    path = folder / "index.csv"
    if not path.is_file():
        raise UserError(
            f"There is no {path}; give a folder of clips with an index of the columns file, category."
        )
    with open(path, encoding="utf-8", newline="") as opened:
        rows = [row for row in csv.DictReader(opened) if not only or Path(row["file"]).stem in only]
    missing = sorted(set(only) - {Path(row["file"]).stem for row in rows})
    if missing or not rows:
        raise UserError(
            f"The index {path} names no clip {', '.join(missing) or 'at all'}; see its column file."
        )
    return rows


_Detector = Callable[[np.ndarray], np.ndarray]


def _nanodet(detector: NanoDet) -> _Detector:
    """Detects people in a frame and its quarters: boxes, float64 [N, 4]."""

    def detect(frame_HW3: np.ndarray) -> np.ndarray:
        height, width = frame_HW3.shape[:2]
        parts = [(0, 0, width, height), *quarters(height, width)]
        images = [np.ascontiguousarray(frame_HW3[y0:y1, x0:x1]) for x0, y0, x1, y1 in parts]
        seen = [detections.people() for detections in detector.detect(images)]
        corners = [np.array([x0, y0, x0, y0, 0]) for x0, y0, _, _ in parts]
        people_N5 = np.concatenate([people_N5 + at_5 for people_N5, at_5 in zip(seen, corners, strict=True)])
        return people_N5[people_N5[:, 4] >= SURE, :4].astype(np.float64)

    return detect


def _outcome(row: Row, category: str, out: Path, detectors: Sequence[_Detector], every: int) -> ClipOutcome:
    """One clip, and the detections in its output."""
    name = row.video_id
    seen = _seen(detectors, out / f"{name}.mp4", out / f"{name}.npz", every) if row.status == "done" else None
    return ClipOutcome(
        name=name,
        category=category,
        status=row.status,
        reason=row.reason,
        person_frames=dict(json.loads(row.metrics).get("person_frames", {})),
        seen=seen[0] if seen else (),
        seen_by_nanodet=seen[1] if seen else (),
        milliseconds=round(1e3 * row.seconds / max(1, row.num_frames), 1),
    )


def _seen(detectors: Sequence[_Detector], video: Path, arrays: Path, every: int) -> list[tuple[int, ...]]:
    """For each detector, frames of an output with a detection that no avatar and no redaction explains."""
    with np.load(arrays, allow_pickle=False) as stored:
        height, width = int(stored["height"]), int(stored["width"])
        covered_TB = stored["person_masks"] | stored["avatar_masks"]

    def is_unexplained(box_4: np.ndarray, covered_HW: np.ndarray) -> bool:
        x0, y0, x1, y1 = boxes.clip_to_frame(box_4, height=height, width=width)
        return bool(covered_HW[y0:y1, x0:x1].mean() < EXPLAINED)

    found: list[list[int]] = [[] for _ in detectors]
    for index, frame_HW3 in enumerate(reader.stream(video)):
        if index % every:
            continue
        covered_HW = masks.unpack(covered_TB[index], height, width)
        for frames, detect in zip(found, detectors, strict=True):
            if any(is_unexplained(box_4, covered_HW) for box_4 in detect(frame_HW3)):
                frames.append(index)
    return [tuple(frames) for frames in found]


def _recall(folder: Path, names: set[str], search: BoxSearch) -> tuple[dict[str, tuple[int, int]], int, int]:
    """Detected people of those marked in stills, by kind; number of false detections; number of stills."""
    people = _marked(folder, names)
    if not people:
        return {}, 0, 0
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    false_boxes = 0
    for still, rows in sorted(people.items()):
        frame_HW3 = _still(folder, still)
        found_N4 = _found(search, frame_HW3)
        explained = np.zeros(len(found_N4), bool)
        for row in rows:
            if row["kind"] == "none":
                continue
            box_4 = _box_of(row, frame_HW3.shape[0], frame_HW3.shape[1])
            if row["kind"] == "ignore":
                explained |= boxes.share_inside(found_N4, box_4[None])[:, 0] > 0.5
                continue
            hit = (boxes.iou(found_N4, box_4[None])[:, 0] >= FOUND_IOU) | (
                boxes.share_inside(box_4[None], found_N4)[0] >= FOUND_INSIDE
            )
            explained |= hit | (boxes.share_inside(found_N4, box_4[None])[:, 0] > 0.5)
            counts[row["kind"]][0] += bool(hit.any())
            counts[row["kind"]][1] += 1
        false_boxes += int(np.count_nonzero(~explained))
    return {kind: (a, b) for kind, (a, b) in counts.items()}, false_boxes, len(people)


def _marked(folder: Path, names: set[str]) -> dict[str, list[dict[str, str]]]:
    """Rows of people.csv by still; empty without such a file."""
    people: dict[str, list[dict[str, str]]] = defaultdict(list)
    marked = folder / "people.csv"
    if marked.is_file():
        with open(marked, encoding="utf-8", newline="") as opened:
            for row in csv.DictReader(opened):
                if row["still"] in names:
                    people[row["still"]].append(row)
    return people


def _still(folder: Path, name: str) -> np.ndarray:
    """A still, uint8 RGB [H, W, 3]."""
    image = cv2.imread(str(folder / "stills" / f"{name}.jpg"))
    if image is None:
        raise UserError(f"There is no still {folder / 'stills' / name}.jpg, which people.csv names.")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _box_of(row: dict[str, str], height: int, width: int) -> np.ndarray:
    """A marked box in pixels, float64 [4]."""
    shares = np.array([float(row[side]) for side in ("left", "top", "right", "bottom")])
    return np.asarray(shares * np.array([width, height, width, height]))


def _fates(folder: Path, index: Sequence[dict[str, str]], out: Path) -> Iterator[str]:
    """The outcome of each marked person in the frame of the still; stills without a frame are omitted."""
    files = {Path(row["file"]).stem: folder / row["file"] for row in index}
    for name, rows in sorted(_marked(folder, set(files)).items()):
        people = [row for row in rows if row["kind"] not in ("none", "ignore")]
        at = _frame_of(files[name], _still(folder, name)) if people else None
        if at is None:
            continue
        if not (out / f"{name}.npz").is_file():
            yield from ["not published"] * len(people)
            continue
        with np.load(out / f"{name}.npz", allow_pickle=False) as stored:
            height, width = int(stored["height"]), int(stored["width"])
            avatar_HW, removed_HW = (
                masks.unpack(stored[film][at], height, width) for film in ("avatar_masks", "person_masks")
            )
        for row in people:
            x0, y0, x1, y1 = boxes.clip_to_frame(_box_of(row, height, width), height=height, width=width)
            if avatar_HW[y0:y1, x0:x1].mean() >= AVATAR_SHARE:
                yield "avatar"
            elif removed_HW[y0:y1, x0:x1].mean() >= COVERED_SHARE:
                yield "covered otherwise"
            else:
                yield "in sight"


def _frame_of(video: Path, still_HW3: np.ndarray) -> int | None:
    """Number of the frame of a still; None without one."""

    def small(frame_HW3: np.ndarray) -> np.ndarray:
        return cv2.resize(frame_HW3, (64, 36), interpolation=cv2.INTER_AREA).astype(np.float32)

    still = small(still_HW3)
    apart = np.array([float(np.abs(small(frame_HW3) - still).mean()) for frame_HW3 in reader.stream(video)])
    best = int(apart.argmin())
    return best if apart[best] <= SAME_FRAME else None


def _found(search: BoxSearch, frame_HW3: np.ndarray) -> np.ndarray:
    """Boxes of all people that the search would track in a still, float64 [N, 4]."""
    height, width = frame_HW3.shape[:2]
    info = VideoInfo(width=width, height=height, fps=Fraction(1), num_frames=1, full_range=False)
    looked = search([frame_HW3], info)
    return np.array([track.boxes_N4[0] for track in looked.tracks]).reshape(-1, 4)


def _sheet(clips: Sequence[tuple[Path, Path]], path: Path) -> None:
    """Three frames of every clip, source above output, with its name."""
    tiles = [tile for source, output in clips for tile in _tiles(source, output)]
    blank = np.zeros_like(tiles[0])
    tiles += [blank] * (-len(tiles) % 6)
    rows = [np.hstack(tiles[at : at + 6]) for at in range(0, len(tiles), 6)]
    with atomic_path(path) as temporary:
        written, data = cv2.imencode(path.suffix, cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
        if not written:
            raise UserError(f"The sheet {path} cannot be written; give a name that ends in .png or .jpg.")
        temporary.write_bytes(data.tobytes())


def _tiles(source: Path, output: Path, size: tuple[int, int] = (240, 160)) -> Iterator[np.ndarray]:
    info = reader.probe(source)
    at = np.unique(np.linspace(0.1, 0.9, 3) * (info.num_frames - 1)).round().astype(int)
    before = reader.read_frames(source, at)
    after = reader.read_frames(output, at) if output.is_file() else np.zeros_like(before)
    for index, one, other in zip(at.tolist(), before, after, strict=True):
        pair = np.vstack([_fitted(one, size), _fitted(other, size)])
        label = np.zeros((14, size[0], 3), np.uint8)
        text = f"{source.stem} {index}"
        cv2.putText(label, text, (2, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (255, 255, 255), 1, cv2.LINE_AA)
        yield np.vstack([label, pair])


def _fitted(image_HW3: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image scaled to fit `size` (width, height), on black."""
    height, width = image_HW3.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    small = cv2.resize(image_HW3, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    tile = np.zeros((size[1], size[0], 3), np.uint8)
    tile[: small.shape[0], : small.shape[1]] = small
    return tile
