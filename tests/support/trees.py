"""Miniature datasets in the official layouts. Readers look at names, lists and bytes, not into videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def put(path: Path, content: str | None = None) -> Path:
    """A file with bytes of its own, or with this text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"content of {path}" if content is None else content)
    return path


def ucf101(root: Path) -> Path:
    lists = root / "ucfTrainTestlist"
    put(lists / "classInd.txt", "1 ApplyEyeMakeup\n2 Archery\n")
    for split in (1, 2, 3):
        train, test = [], []
        for number, label in enumerate(("ApplyEyeMakeup", "Archery"), start=1):
            for group in (1, 2, 3):
                for clip in (1, 2):
                    name = f"{label}/v_{label}_g{group:02d}_c{clip:02d}.avi"
                    put(root / "UCF-101" / name)
                    if group == split:
                        test.append(name)
                    else:
                        train.append(f"{name} {number}")
        put(lists / f"trainlist{split:02d}.txt", "\r\n".join(train) + "\r\n")
        put(lists / f"testlist{split:02d}.txt", "\n".join(test))
    return root


def hmdb51(root: Path) -> Path:
    for label in ("brush_hair", "wave"):
        names = [f"#{n}_film_{label}_u_nm_np1_ba_goo_{n}.avi" for n in range(5)]
        for name in names:
            put(root / "hmdb51_org" / label / name)
        for split in (1, 2, 3):
            marks = np.roll([1, 1, 2, 0, 1], split)
            lines = [f"{name} {mark} " for name, mark in zip(names, marks, strict=True)]
            put(root / "testTrainMulti_7030_splits" / f"{label}_test_split{split}.txt", "\n".join(lines))
    return root


def ntu60(root: Path, *, skeletons: bool = True) -> Path:
    for subject, camera, action in [(1, 1, 1), (1, 2, 60), (3, 1, 7), (3, 3, 1), (40, 2, 31)]:
        name = f"S017C{camera:03d}P{subject:03d}R002A{action:03d}"
        put(root / "nturgb+d_rgb" / f"{name}_rgb.avi")
        if skeletons and subject != 40:
            put(root / "nturgb+d_skeletons" / f"{name}.skeleton")
    put(
        root / "NTU_RGBD_samples_with_missing_skeletons.txt",
        "Missing or broken skeletons:\n\nS017C002P040R002A031\n",
    )
    return root


def smarthome(root: Path) -> Path:
    for stem in (
        "Walk_p03_r00_v02_c01",
        "Walk_p02_r01_v03_c02",
        "Walk_p04_r00_v04_c05",
        "Cook.Cut_p25_r00_v01_c07",
        "WatchTV_p20_r02_v09_c03",
        "Eat.Attable_p06_r02_v09_c03",
    ):
        put(root / "mp4" / f"{stem}.mp4")
        put(root / "skeleton_v12" / f"{stem}_pose3d.json")
    return root


def kinetics(root: Path) -> Path:
    rows = {"train": ("a_b-c", "air drumming"), "val": ("xyz", "abseiling"), "test": ("q-1", "")}
    for split, (identity, label) in rows.items():
        folder = root / split / (label if split == "train" else "")
        put(folder / f"{identity}_000095_000105.mp4")
        put(
            root / "annotations" / f"{split}.csv",
            f"label,youtube_id,time_start,time_end,split\n{label},{identity},95,105,{split}\n",
        )
    return root


def folders(root: Path) -> Path:
    for split, count in (("train", 3), ("test", 1)):
        for label in ("waving", "jumping"):
            for number in range(count):
                put(root / split / label / f"{number}.mp4")
    return root


def cifar(root: Path, *, hundred: bool = False, pictures: int = 3) -> Path:
    rng = np.random.default_rng(0)
    folder = root / ("cifar-100-binary" if hundred else "cifar-10-batches-bin")
    names = ["apple", "bear"] if hundred else ["airplane", "cat"]
    put(folder / ("fine_label_names.txt" if hundred else "batches.meta.txt"), "\n".join(names) + "\n\n")
    trains = ["train.bin"] if hundred else [f"data_batch_{n}.bin" for n in range(1, 6)]
    for file in (*trains, "test.bin" if hundred else "test_batch.bin"):
        rows = rng.integers(0, 256, (pictures, (2 if hundred else 1) + 3072), dtype=np.uint8)
        rows[:, 0] = 19 if hundred else np.arange(pictures) % 2
        if hundred:
            rows[:, 1] = np.arange(pictures) % 2
        (folder / file).write_bytes(rows.tobytes())
    return root


def imagenet(root: Path, *, flat: bool = False) -> Path:
    solution = ["ImageId,PredictionString"]
    for number, label in enumerate(("n01440764", "n01443537")):
        for picture in range(2):
            put(root / "train" / label / f"{label}_{picture}.JPEG")
        name = f"ILSVRC2012_val_{number:08d}"
        put(root / "val" / ("" if flat else label) / f"{name}.JPEG")
        solution.append(f"{name},{label} 1 2 3 4 {label} 5 6 7 8")
    if flat:
        put(root / "LOC_val_solution.csv", "\n".join(solution))
    return root


CHEXPERT_COLUMNS = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,"
    "Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,"
    "Fracture,Support Devices"
)


def chexpert(root: Path) -> Path:
    folder = root / "CheXpert-v1.0-small"
    rows = {
        "train": [
            ("patient00001/study1/view1_frontal.jpg", ",,1.0,,,-1.0,-1.0,,0.0,,1.0,,,"),
            ("patient00001/study1/view2_lateral.jpg", ",,,,,,,,,,,,,"),
            ("patient00002/study1/view1_frontal.jpg", "1.0,,0.0,,,,,,-1.0,,-1.0,,,"),
        ],
        "valid": [("patient64541/study1/view1_frontal.jpg", "0.0,0.0,0.0,0.0,0.0,1.0,0.0,0,0,0,0,0,0,0")],
    }
    for split, lines in rows.items():
        text = [CHEXPERT_COLUMNS]
        for name, values in lines:
            put(folder / split / name)
            text.append(f"CheXpert-v1.0-small/{split}/{name},Female,68,Frontal,AP,{values}")
        put(folder / f"{split}.csv", "\n".join(text))
    return root
