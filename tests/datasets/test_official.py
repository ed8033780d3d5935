"""Every reader takes the official layout, and says what is wrong with it when something is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import trees

from raymaskdp import cli
from raymaskdp.datasets import importing, registry
from raymaskdp.datasets.importing import import_dataset, list_datasets
from raymaskdp.datasets.manifest import VideoRecord, labels_of, read_source
from raymaskdp.datasets.readers.ntu60 import ACTIONS
from raymaskdp.errors import UserError

MAKERS: dict[str, Callable[[Path], Path]] = {
    "ucf101": trees.ucf101,
    "hmdb51": trees.hmdb51,
    "ntu60": trees.ntu60,
    "smarthome": trees.smarthome,
    "kinetics": trees.kinetics,
    "folders": trees.folders,
    "cifar10": trees.cifar,
    "cifar100": lambda root: trees.cifar(root, hundred=True),
    "imagenet": trees.imagenet,
    "chexpert": trees.chexpert,
}


def load(name: str, root: Path, tmp_path: Path, **options):
    """The result of an import, and the records by id as they are read back from the manifest."""
    result = import_dataset(name, root, tmp_path / "out" / "manifest.parquet", options)
    return result, {record.video_id: record for record in read_source(result.manifest)}


def kinds(result) -> set[str]:
    """What is wrong, besides that the tree is a miniature."""
    return {problem.what for problem in result.problems} - {"wrong count"}


@pytest.mark.parametrize("name", MAKERS)
def test_an_official_tree_is_read_and_only_its_size_is_wrong(name, tmp_path) -> None:
    result, records = load(name, MAKERS[name](tmp_path / "data"), tmp_path)
    assert kinds(result) == set()
    # Folders and lists in general have no published counts; Kinetics has 400 classes.
    assert bool(result.problems) == (name != "folders")
    assert len(records) == sum(result.videos.values()) > 0
    assert all(Path(record.path).is_file() for record in records.values())
    assert result.classes == len({part for r in records.values() for part in labels_of(r.label)}) > 1


@pytest.mark.parametrize("name", MAKERS)
def test_an_empty_folder_is_refused(name, tmp_path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match=r"has no (folder|list|video)"):
        load(name, tmp_path / "data", tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        load(name, tmp_path / "nowhere", tmp_path)
    assert not (tmp_path / "out").exists()


def test_ucf101_splits(tmp_path) -> None:
    root = trees.ucf101(tmp_path / "data")
    for split in (1, 2, 3):
        result, records = load("ucf101", root, tmp_path, split=split)
        assert result.videos == {"train": 8, "test": 4}
        tests = {record.subject for record in records.values() if record.split == "test"}
        assert tests == {f"ApplyEyeMakeup-g{split:02d}", f"Archery-g{split:02d}"}
    assert records["v_Archery_g01_c02"].label == "Archery"
    counts = next(p for p in result.problems if p.what == "wrong count")
    assert "2 classes instead of 101" in counts.examples
    assert "8 videos in trainlist03.txt instead of 9,624" in counts.examples
    with pytest.raises(UserError, match="must be one of 1, 2, 3"):
        load("ucf101", root, tmp_path, split=4)


def test_ucf101_broken(tmp_path) -> None:
    root = trees.ucf101(tmp_path / "data")
    videos, lists = root / "UCF-101", root / "ucfTrainTestlist"
    (videos / "Archery/v_Archery_g02_c01.avi").unlink()
    (videos / "Archery/v_Archery_g03_c01.avi").write_bytes(b"")
    trees.put(videos / "Archery/v_Archery_g09_c01.avi")
    shutil.copy(videos / "Archery/v_Archery_g01_c01.avi", videos / "Archery/v_Archery_g03_c02.avi")
    train = lists / "trainlist01.txt"
    train.write_text(
        train.read_text().replace("c02.avi 1", "c02.avi 2")
        + "Jumping/v_Jumping_g02_c01.avi 3\nArchery/v_Archery_g01_c01.avi 2\nArchery/v_Archery_g01_c01.avi 2"
    )
    result, records = load("ucf101", root, tmp_path)
    assert kinds(result) == {
        "missing video",
        "empty file",
        "video in neither list",
        "class number other than in classInd.txt",
        "class that is not in classInd.txt",
        "video listed twice",
        "group of videos in both training and test",
        "same content in train, twice",
    }
    missing = next(p for p in result.problems if p.what == "missing video")
    assert (missing.count, missing.examples) == (1, ("Archery/v_Archery_g02_c01.avi",))
    assert "v_Archery_g02_c01" not in records
    assert "v_Archery_g03_c01" not in records
    (lists / "classInd.txt").write_text("Archery")
    with pytest.raises(UserError, match="a number and a class on every line"):
        load("ucf101", root, tmp_path)
    (lists / "testlist01.txt").unlink()
    (lists / "classInd.txt").write_text("1 ApplyEyeMakeup\n2 Archery")
    with pytest.raises(UserError, match="Cannot read the list"):
        load("ucf101", root, tmp_path)


def test_videos_in_training_and_test_are_found_by_content(tmp_path) -> None:
    root = trees.ucf101(tmp_path / "data")
    videos = root / "UCF-101"
    shutil.copy(
        videos / "Archery/v_Archery_g01_c01.avi", videos / "ApplyEyeMakeup/v_ApplyEyeMakeup_g02_c01.avi"
    )
    result, _ = load("ucf101", root, tmp_path)
    found = next(p for p in result.problems if p.what == "same content in test and train")
    assert found.examples == ("v_ApplyEyeMakeup_g02_c01 = v_Archery_g01_c01",)


def test_hmdb51(tmp_path) -> None:
    root = trees.hmdb51(tmp_path / "data")
    for split in (1, 2, 3):
        result, records = load("hmdb51", root, tmp_path, split=split)
        assert result.videos == {"train": 6, "test": 2}
        assert len(records) == 8  # ids stay apart though `#` cannot be in one
    lists = root / "testTrainMulti_7030_splits"
    (root / "hmdb51_org/wave/#0_film_wave_u_nm_np1_ba_goo_0.avi").unlink()
    trees.put(root / "hmdb51_org/wave/new.avi")
    trees.put(root / "hmdb51_org/jump/a.avi")
    path = lists / "brush_hair_test_split3.txt"
    path.write_text(path.read_text() + "\n#1_film_brush_hair_u_nm_np1_ba_goo_1.avi 1")
    broken, _ = load("hmdb51", root, tmp_path, split=3)
    assert kinds(broken) == {
        "missing video",
        "video in no list",
        "class without a list",
        "video listed twice",
    }
    path.write_text("a.avi 3")
    with pytest.raises(UserError, match=r"is not 'VIDEO 0\|1\|2'"):
        load("hmdb51", root, tmp_path, split=3)
    shutil.rmtree(lists)
    lists.mkdir()
    with pytest.raises(UserError, match="has no list"):
        load("hmdb51", root, tmp_path)


def test_ntu60(tmp_path) -> None:
    root = trees.ntu60(tmp_path / "data")
    result, records = load("ntu60", root, tmp_path)
    assert result.videos == {"train": 2, "test": 3}
    assert result.subjects == 3
    first = records["S017C001P003R002A007"]
    assert first == VideoRecord(
        video_id="S017C001P003R002A007",
        path=str(root / "nturgb+d_rgb/S017C001P003R002A007_rgb.avi"),
        label="A007 throw",
        split="test",
        subject="P003",
        camera="S017C001",
        setup="S017",
        replication="R002",
        skeleton=str(root / "nturgb+d_skeletons/S017C001P003R002A007.skeleton"),
    )
    assert records["S017C002P040R002A031"].skeleton is None
    _, by_view = load("ntu60", root, tmp_path, protocol="cross-view")
    assert {r.camera for r in by_view.values() if r.split == "test"} == {"S017C001"}
    assert len(ACTIONS) == len(set(ACTIONS)) == 60
    plain, videos = load("ntu60", trees.ntu60(tmp_path / "plain", skeletons=False), tmp_path / "plain-out")
    assert kinds(plain) == set()
    assert all(record.skeleton is None for record in videos.values())


def test_ntu60_broken(tmp_path) -> None:
    root = trees.ntu60(tmp_path / "data")
    videos = root / "nturgb+d_rgb"
    trees.put(videos / "holiday.avi")
    trees.put(videos / "S018C001P001R001A001_rgb.avi")
    trees.put(videos / "S001C001P001R001A061_rgb.avi")
    trees.put(videos / "again" / "S017C001P001R002A001_rgb.avi")
    (root / "nturgb+d_skeletons/S017C001P001R002A001.skeleton").unlink()
    result, records = load("ntu60", root, tmp_path)
    assert kinds(result) == {
        "file that is not named S…C…P…R…A…",
        "file that is not of NTU RGB+D 60, but possibly of 120",
        "duplicate video",
        "missing skeleton",
    }
    assert len(records) == 5
    (root / "NTU_RGBD_samples_with_missing_skeletons.txt").unlink()
    result, _ = load("ntu60", root, tmp_path)
    assert next(p.count for p in result.problems if p.what == "missing skeleton") == 2


def test_smarthome(tmp_path) -> None:
    root = trees.smarthome(tmp_path / "data")
    result, records = load("smarthome", root, tmp_path)
    assert result.videos == {"train": 4, "test": 2}
    walk = records["Walk_p02_r01_v03_c02"]
    assert (walk.label, walk.subject, walk.camera, walk.replication) == ("Walk", "p02", "c02", "r01")
    assert str(walk.skeleton).endswith("Walk_p02_r01_v03_c02_pose3d.json")
    one, _ = load("smarthome", root, tmp_path, protocol="cross-view-1")
    two, by_view = load("smarthome", root, tmp_path, protocol="cross-view-2")
    assert one.videos == {"train": 1, "test": 1, "val": 1}
    assert two.videos == {"train": 2, "test": 1, "val": 1}
    assert "Cook.Cut_p25_r00_v01_c07" not in by_view  # camera 7, but none of the 19 actions


def test_smarthome_broken(tmp_path) -> None:
    root = trees.smarthome(tmp_path / "data")
    for name in ("Dance_p03_r00_v01_c01", "Walk_p99_r00_v01_c01", "notes"):
        trees.put(root / "mp4" / f"{name}.mp4")
    next(root.glob("skeleton*/Walk_p03*")).unlink()
    result, records = load("smarthome", root, tmp_path)
    assert kinds(result) == {
        "unknown action",
        "person that is in no protocol",
        "file that is not named ACTION_p…_r…_v…_c…",
        "missing skeleton",
    }
    assert len(records) == 6


def test_kinetics(tmp_path) -> None:
    root = trees.kinetics(tmp_path / "data")
    result, records = load("kinetics", root, tmp_path, classes=2)
    assert result.problems == ()
    assert result.videos == {"train": 1, "val": 1, "test": 1}
    assert {r.label for r in records.values()} == {"air drumming", "abseiling", None}
    (root / "annotations/val.csv").rename(root / "annotations/validate.csv")
    (root / "val").rename(root / "validate")
    again, _ = load("kinetics", root, tmp_path, classes=2)
    assert again.videos == result.videos


def test_kinetics_broken(tmp_path) -> None:
    root = trees.kinetics(tmp_path / "data")
    train = root / "annotations/train.csv"
    train.write_text(train.read_text() + "air drumming,a_b-c,95,105,train\nabseiling,gone,1,11,train\n")
    result, _ = load("kinetics", root, tmp_path, classes=3)
    assert kinds(result) == {"missing video", "video listed twice in train.csv"}
    assert str(result.problems[-1]) == "wrong count (1): 2 classes instead of 3"
    train.write_text("label,youtube_id,time_start,time_end,split\nabseiling,x,soon,11,train\n")
    with pytest.raises(UserError, match="times that are not numbers"):
        load("kinetics", root, tmp_path)
    train.write_text("label,youtube_id,time_start,time_end,split\nabseiling,,1,11,train\n")
    with pytest.raises(UserError, match="has no youtube_id"):
        load("kinetics", root, tmp_path)
    train.write_text("\n")
    with pytest.raises(UserError, match="is empty"):
        load("kinetics", root, tmp_path)


def test_lists_of_paths(tmp_path) -> None:
    root = tmp_path / "data"
    trees.put(root / "videos/a b.mp4")
    trees.put(root / "videos/c.mp4")
    trees.put(root / "train.csv", "videos/a b.mp4 0\nvideos/c.mp4 1\nvideos/gone.mp4 1\n")
    trees.put(root / "val.csv", "videos/c.mp4,1\n")
    result, records = load("kinetics", root, tmp_path, classes=2)
    assert kinds(result) == {"missing video", "same content in train and val"}
    assert [r.label for r in records.values()] == ["0", "1", "1"]
    (root / "train.csv").write_text("videos/c.mp4\n")
    with pytest.raises(UserError, match="is not 'PATH CLASS'"):
        load("kinetics", root, tmp_path)


def test_folders(tmp_path) -> None:
    root = trees.folders(tmp_path / "data")
    result, _ = load("folders", root, tmp_path)
    assert result.videos == {"train": 6, "test": 2}
    trees.put(root / "train/stray.mp4")
    trees.put(root / "test/dancing/a.mp4")
    broken, _ = load("folders", root, tmp_path)
    assert kinds(broken) == {"file outside the folder of a class", "class without a training video"}


def test_folders_that_nothing_divides(tmp_path) -> None:
    for label in ("waving", "jumping"):
        for number in range(10):
            trees.put(tmp_path / "data" / label / f"{number}.png")
    result, records = load("folders", tmp_path / "data", tmp_path, test_share=0.3)
    assert result.videos == {"train": 14, "test": 6}
    trees.put(tmp_path / "data/hopping/1.png")  # other files do not move those that were there
    _, more = load("folders", tmp_path / "data", tmp_path, test_share=0.3)
    assert all(more[name].split == record.split for name, record in records.items())
    with pytest.raises(UserError, match="test_share must be"):
        load("folders", tmp_path / "data", tmp_path, test_share=1.0)


@pytest.mark.parametrize("hundred", [False, True])
def test_cifar(tmp_path, hundred) -> None:
    root = trees.cifar(tmp_path / "data", hundred=hundred)
    name = "cifar100" if hundred else "cifar10"
    result, records = load(name, root, tmp_path)
    assert result.videos == {"train": 3 if hundred else 15, "test": 3}
    file = "train" if hundred else "data_batch_2"
    raw = np.fromfile(next(root.glob(f"*/{file}.bin")), dtype=np.uint8).reshape(3, -1)
    record = records[f"{file}-00001"]
    assert record.label == ("bear" if hundred else "cat")
    rgb = cv2.imread(record.path)[:, :, ::-1]
    assert np.array_equal(rgb, raw[1, -3072:].reshape(3, 32, 32).transpose(1, 2, 0))
    assert Path(record.path).is_relative_to(tmp_path / "out")


def test_cifar_broken(tmp_path) -> None:
    root = trees.cifar(tmp_path / "data")
    folder = root / "cifar-10-batches-bin"
    (folder / "data_batch_3.bin").unlink()
    (folder / "batches.meta.txt").write_text("airplane\n")
    result, _ = load("cifar10", root, tmp_path)
    assert kinds(result) == {"missing file", "class that batches.meta.txt does not have"}
    (folder / "data_batch_1.bin").write_bytes(b"\0" * 5000)
    with pytest.raises(UserError, match="not a whole number of images"):
        load("cifar10", root, tmp_path)
    folder.rename(root / "cifar-10-batches-py")
    with pytest.raises(UserError, match="download the binary version"):
        load("cifar10", root, tmp_path)


@pytest.mark.parametrize("flat", [False, True])
def test_imagenet(tmp_path, flat) -> None:
    root = trees.imagenet(tmp_path / "data", flat=flat)
    result, records = load("imagenet", root, tmp_path)
    assert result.videos == {"train": 4, "val": 2}
    assert {r.label for r in records.values()} == {"n01440764", "n01443537"}
    trees.put(root / "val/ILSVRC2012_val_00009999.JPEG")
    trees.put(root / "val/n09999999/a.JPEG")
    broken, _ = load("imagenet", root, tmp_path)
    assert kinds(broken) == {
        "picture without a class, in no folder and not in LOC_val_solution.csv",
        "class without a training picture",
    }
    shutil.rmtree(root / "val")
    with pytest.raises(UserError, match="has no folder 'val'"):
        load("imagenet", root, tmp_path)


def test_chexpert(tmp_path) -> None:
    root = trees.chexpert(tmp_path / "data")

    def labels(**options):
        _, records = load("chexpert", root, tmp_path, **options)
        return [record.label for record in records.values()]

    # Edema and Consolidation are uncertain in the first, Atelectasis and Pleural Effusion in the third.
    assert labels() == ["|Cardiomegaly|Edema|Pleural Effusion|", "|", "|Atelectasis|", "|Edema|"]
    assert labels(uncertain="zeros") == ["|Cardiomegaly|Pleural Effusion|", "|", "|", "|Edema|"]
    assert labels(uncertain="ones")[2] == "|Atelectasis|Pleural Effusion|"
    assert len(labels(frontal=True)) == 3
    result, records = load("chexpert", root, tmp_path)
    assert (result.classes, result.subjects, result.videos) == (4, 3, {"train": 3, "val": 1})
    assert labels_of(next(iter(records.values())).label) == ("Cardiomegaly", "Edema", "Pleural Effusion")


def test_chexpert_broken(tmp_path) -> None:
    root = trees.chexpert(tmp_path / "data")
    folder = root / "CheXpert-v1.0-small"
    (folder / "train/patient00002/study1/view1_frontal.jpg").unlink()
    train = folder / "train.csv"
    train.write_text(
        train.read_text()
        + "\nCheXpert-v1.0-small/train/nobody/view1_frontal.jpg,Male,1,Frontal,AP,,,,,,,,,,,,,,"
        + "\nCheXpert-v1.0-small/train/patient00003/view1_frontal.jpg,Male,1,Frontal,AP,,,2,,,,,,,,,,,"
        + "\nCheXpert-v1.0-small/train/patient64541/view1_frontal.jpg,Male,1,Frontal,AP,,,,,,,,,,,,,,"
    )
    result, _ = load("chexpert", root, tmp_path)
    assert kinds(result) == {
        "missing picture",
        "path without a patient",
        "value that is not 1, 0, -1 or nothing",
        "patient in both training and validation",
    }
    train.write_text("Path,Sex\na,b")
    with pytest.raises(UserError, match="has no column 'Atelectasis'"):
        load("chexpert", root, tmp_path)


def test_the_command_line(tmp_path, capsys) -> None:
    root = trees.folders(tmp_path / "data")
    out = tmp_path / "manifest.parquet"
    assert cli.main(["dataset", "import", "folders", str(root), "--out", str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["videos"] == {"train": 6, "test": 2}
    trees.put(root / "train/stray.mp4")
    assert cli.main(["dataset", "import", "folders", str(root), "--out", str(out)]) == 1
    assert "problem: file outside the folder of a class (1): train/stray.mp4" in capsys.readouterr().out
    assert cli.main(["dataset", "import", "folders", str(root), "test_shre=0", "--out", str(out)]) == 2
    assert cli.main(["dataset", "import", "folders", str(root), "--out", "manifest.csv"]) == 2
    assert cli.main(["dataset", "import", "mnist", str(root), "--out", str(out)]) == 2
    assert "The dataset must be one of ucf101, hmdb51" in capsys.readouterr().err
    assert cli.main(["dataset", "list", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["datasets"]) == set(MAKERS)


def test_packages_can_add_datasets(tmp_path, monkeypatch) -> None:
    package = tmp_path / "site" / "mine-1.dist-info"
    trees.put(package / "METADATA", "Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    trees.put(package / "entry_points.txt", "[raymaskdp.datasets]\nmine = mine_data:MINE\n")
    trees.put(
        tmp_path / "site" / "mine_data.py",
        "from raymaskdp.datasets import folders\nfrom raymaskdp.datasets.registry import Dataset\n"
        "MINE = Dataset(about='mine', options=folders.FoldersOptions, read=folders.read)\n",
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert list_datasets().datasets["mine"] == {"about": "mine", "options": {"test_share": 0.2}}
    result, _ = load("mine", trees.folders(tmp_path / "data"), tmp_path)
    assert result.dataset == "mine"
    trees.put(package / "entry_points.txt", "[raymaskdp.datasets]\nmine = json:dumps\n")
    with pytest.raises(UserError, match="is not a Dataset"):
        registry.DATASETS["mine"]


def test_equal_names_get_different_ids() -> None:
    record = VideoRecord(video_id="a", path="x/a.mp4")
    told = importing._told_apart([record, replace(record, path="y/a.mp4"), replace(record, video_id="b")])
    assert len({one.video_id for one in told}) == 3
    assert told[2].video_id == "b"
