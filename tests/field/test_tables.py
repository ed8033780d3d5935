"""Tables as people and spreadsheets write them: what is written is what is meant."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from support.field_films import Films, Run
from support.samples import write_anonymized

from raymaskdp.datasets.manifest import VideoRecord, read_source, write_table
from raymaskdp.errors import UserError
from raymaskdp.train import ClipStore, PrepareConfig, prepare

SIZE = PrepareConfig(width=32, height=24, token=2)
NONES = (
    "None",
    "NA",
    "N/A",
    "null",
    "NULL",
    "nan",
    "NaN",
    "n/a",
    "<NA>",
    "-nan",
    "#N/A",
    "True",
    "007",
    "1e3",
)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_what_reads_like_nothing_is_a_label(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"list.{suffix}"
    table = pd.DataFrame({"path": [f"{n}.mp4" for n in range(len(NONES))], "label": NONES, "subject": NONES})
    table.to_csv(path, index=False) if suffix == "csv" else table.to_parquet(path)
    records = read_source(path)
    assert [record.label for record in records] == list(NONES)
    assert [record.subject for record in records] == list(NONES)
    write_table(tmp_path / "again.parquet", records)
    assert read_source(tmp_path / "again.parquet") == records


def test_the_table_of_a_user(field: Path) -> None:
    one, two = read_source(field / "manifests/na_labels.csv")
    assert (one.label, one.subject, one.split) == ("None", "NA", "train")
    assert (two.label, two.subject, two.split) == ("wave", "null", "train")


def test_labels_survive_all_the_way_to_training(films: Films, run: Run, tmp_path: Path) -> None:
    for number, label in enumerate(("None", "NA", "null", "wave")):
        films.put(tmp_path / f"{label}/{'ab'[number % 2]}.mp4")
    rows = [
        f"{label}/{'ab'[n % 2]}.mp4,{label},train,{label}"
        for n, label in enumerate(("None", "NA", "null", "wave"))
    ]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split,subject", *rows]))
    assert run(tmp_path / "list.csv", tmp_path / "out").done == 4
    prepare(tmp_path / "out", tmp_path / "clips", SIZE)
    prepare(tmp_path / "list.csv", tmp_path / "plain", SIZE)
    for name in ("clips", "plain"):
        store = ClipStore.open(tmp_path / name)
        assert store.classes == ("NA", "None", "null", "wave")
        assert len(store.split("train")) == 4
        assert {video.subject for video in store.videos} == {"NA", "None", "null", "wave"}


@pytest.mark.parametrize(
    "text",
    [
        "path, label\na.mp4, wave\n",
        "path ,label \na.mp4 ,wave \n",
        "\ufeffpath,label\na.mp4,wave\n",
        "Path,Label\na.mp4,wave\n",
        "path,label\r\na.mp4,wave\r\n",
        'path,label\n"a.mp4","wave"\n',
        '"path", "label"\n"a.mp4", "wave"\n',
        "path,label,\na.mp4,wave,\n",
    ],
)
def test_blanks_capitals_and_marks_change_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(text.encode())
    (record,) = read_source(tmp_path / "list.csv")
    assert (record.video_id, record.label, record.path) == ("a", "wave", str(tmp_path / "a.mp4"))


def test_a_column_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label,Label\na.mp4,wave,clap\n")
    with pytest.raises(UserError, match="more than one column 'label'"):
        read_source(tmp_path / "list.csv")


def test_numbers_with_gaps_stay_whole(tmp_path: Path) -> None:
    table = pd.DataFrame({"path": ["a.mp4", "b.mp4"], "label": [3, None], "subject": [1, 2]})
    table["label"] = table["label"].astype("Int64")
    table.to_parquet(tmp_path / "list.parquet")
    one, two = read_source(tmp_path / "list.parquet")
    assert (one.label, two.label, one.subject) == ("3", None, "1")
    table["label"] = table["label"].astype(float)  # as pandas makes it of a column with a gap
    table.to_parquet(tmp_path / "list.parquet")
    assert [record.label for record in read_source(tmp_path / "list.parquet")] == ["3", None]


def test_one_file_under_two_ids_is_said(films: Films, run: Run, tmp_path: Path) -> None:
    films.put(tmp_path / "a.mp4", tmp_path / "b.mp4")
    shutil.copy(tmp_path / "a.mp4", tmp_path / "x.mp4")
    (tmp_path / "list.csv").write_text("path,video_id\na.mp4,one\na.mp4,two\nb.mp4,b\nx.mp4,three\n")
    wanted = "one and three and two have the same content, but are 3 records"
    assert wanted in str(prepare(tmp_path / "list.csv", tmp_path / "plain", SIZE))
    result = run(tmp_path / "list.csv", tmp_path / "out")
    assert any(note.startswith(wanted) for note in result.notes)
    assert "3 times the claimed ε" in str(prepare(tmp_path / "out", tmp_path / "clips", SIZE))
    assert prepare(write_anonymized(tmp_path / "x", train=2, test=0), tmp_path / "y", SIZE).notes == ()


def test_a_record_keeps_every_word(tmp_path: Path) -> None:
    record = VideoRecord(
        video_id="a", path=str(tmp_path / "a.mp4"), label="null", subject="None", camera="NA"
    )
    write_table(tmp_path / "manifest.parquet", [record])
    assert read_source(tmp_path) == (record,)


BAD_CSV = {
    "a field too many": ("path,label\na.mp4,x\nb.mp4,y,z\n", "line 3 has 3 fields for 2 columns"),
    "a field too many in each line": ("path,label\na.mp4,x,1\nb.mp4,y,2\n", "line 2 has 3 fields for 2"),
    "a quote without an end": (
        'path,label\n"a.mp4,x\nb.mp4,y\n',
        "line 3 is not CSV, perhaps because of an extra quote",
    ),
    "a column twice": ("path,label,label\na.mp4,x,y\n", "more than one column 'label'"),
    "latin-1": ("path,label\na.mp4,x\nb.mp4,café\n".encode("latin-1"), "line 3 is not UTF-8"),
    "UTF-16": ("path,label\na.mp4,x\n".encode("utf-16"), "line 1 is not UTF-8"),
    "a zero byte": ("path,label\na\0.mp4,x\n", "line 2 has a zero byte"),
    "nothing": ("", "it is empty"),
}


@pytest.mark.parametrize("name", BAD_CSV)
@pytest.mark.filterwarnings("error")
def test_what_is_wrong_with_a_csv_file_is_one_sentence_with_the_line(name: str, tmp_path: Path) -> None:
    content, why = BAD_CSV[name]
    (tmp_path / "x.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError, match=rf"x\.csv.*{why}[^\n]*\.$") as error:
        read_source(tmp_path / "x.csv")
    assert "C error" not in str(error.value)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_an_empty_field_is_none(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"list.{suffix}"
    table = pd.DataFrame(
        {"path": ["a.mp4", "b.mp4"], "label": ["", "x"], "subject": [" ", "y"], "split": [None, ""]}
    )
    table.to_csv(path, index=False) if suffix == "csv" else table.to_parquet(path)
    one, two = read_source(path)
    assert (one.label, one.subject, two.label, two.subject) == (None, None, "x", "y")
    assert one.split is two.split is None


def test_commas_at_the_ends_of_lines_and_lines_without_anything_mean_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('path,label\n\na.mp4,x,, \n,\n"b, c.mp4"\n')
    one, two = read_source(tmp_path / "x.csv")
    assert (one.label, two.label, Path(two.path).name) == ("x", None, "b, c.mp4")


@pytest.mark.parametrize(
    ("labels", "read"),
    [
        ([["a", "b"], ["c"]], ["|a|b|", "|c|"]),
        ([["a"], []], ["|a|", "|"]),
        ([["Edema", "Pleural Effusion"], None], ["|Edema|Pleural Effusion|", None]),
    ],
)
def test_lists_as_labels_are_sets_of_findings(
    labels: list[list[str] | None], read: list[str | None], tmp_path: Path
) -> None:
    path = tmp_path / "list.parquet"
    pd.DataFrame({"path": ["a.mp4", "b.mp4"], "label": labels}).to_parquet(path)
    records = read_source(path)
    assert [record.label for record in records] == read
    write_table(tmp_path / "again.parquet", records)
    assert [record.label for record in read_source(tmp_path / "again.parquet")] == read


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"path": [b"a.mp4"]}, "the column 'path' holds bytes, not text"),
        ({"path": ["a.mp4"], "label": [b"a"]}, "the column 'label' holds bytes, not text"),
        ({"path": ["a.mp4"], "label": [{"a": 1}]}, "the column 'label' holds groups of values"),
        ({"path": ["a.mp4"], "subject": [["a", "b"]]}, "the column 'subject' holds lists"),
        ({"path": ["a.mp4"], "label": [["a|b"]]}, r"an empty name, or one with '\|' in it"),
        ({"path": ["a.mp4"], "label": [["a", None]]}, "an empty name"),
        ({"path": ["."]}, "names the folder .* as a video"),
        ({"path": ["/"]}, "names the folder / as a video"),
    ],
    ids=str,
)
def test_a_column_that_is_no_text_is_refused_by_name(
    columns: dict[str, list[object]], said: str, tmp_path: Path
) -> None:
    pd.DataFrame(columns).to_parquet(tmp_path / "list.parquet")
    with pytest.raises(UserError, match=said):
        read_source(tmp_path / "list.parquet")


def test_what_nobody_sees_makes_no_class(tmp_path: Path) -> None:
    """Characters of no width, and spaces of other kinds; not the joiners that are part of a word."""
    word = "می\u200cخواهم"
    names = ["b\u200b", "\ufeffb", "b\u00ad", "\u200eb", "b\u200d", "b\u00a0", "a\u00a0b", word, "\u200b"]
    rows = [f"{number}.mp4,{name},x{name}" for number, name in enumerate(names)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,subject", *rows]), encoding="utf-8")
    records = read_source(tmp_path / "list.csv")
    assert [record.label for record in records] == [*["b"] * 6, "a b", word, None]
    assert {record.subject for record in records[:6]} == {"xb"}
    assert PrepareConfig(classes=("b\u200b", "a")).classes == ("b", "a")


def test_a_column_twice_that_is_not_used_is_said_in_a_line_of_ours(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    (tmp_path / "list.csv").write_text("path,note,note\na.mp4,x,y\n")
    assert len(read_source(tmp_path / "list.csv")) == 1
    assert "more than one column 'note'" in caplog.text
    assert not recwarn.list


def test_a_manifest_with_a_row_without_a_path_or_a_row_twice_is_refused(
    films: Films, run: Run, tmp_path: Path
) -> None:
    films.put(tmp_path / "videos/a.mp4", tmp_path / "videos/b.mp4")
    run(tmp_path / "videos", tmp_path / "out")
    manifest = tmp_path / "out/manifest.parquet"
    whole = pd.read_parquet(manifest)
    changed = whole.copy()
    changed.loc[changed["video_id"] == "b", "path"] = None
    for table, said in (
        (changed, "the row of b lacks its path"),
        (pd.concat([whole, whole.iloc[:1]]), "a has more than one row"),
        (whole.drop(columns=["path"]), "the row of a lacks its path"),
    ):
        table.to_parquet(manifest, index=False)
        with pytest.raises(UserError, match=said):
            prepare(tmp_path / "out", tmp_path / "clips", SIZE)
