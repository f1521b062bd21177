"""Labels from folders and from files; every mistake names the file and the row."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from musichash_core.records import TrackFailure
from storage.errors import LabelsError
from storage.labels import FileLabels, Label, labels_from_folders, read_labels

GOOD = "track path,label,group\nrock/a.ogg,rock,Queen\nb.ogg,,\n"


@pytest.fixture
def labels(tmp_path):
    def write(content, name="labels.csv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def files(helpers):
    return [
        helpers.source_file(number, path=path)
        for number, path in enumerate(["rock/a.ogg", "b.ogg"])
    ]


def labels_from_file(path, files, failures=(), *, is_part=False):
    """Label files a few at a time, as a scan does."""
    given = FileLabels(path)
    rows = [row for file in files for row in given.of([file])]
    if not is_part:
        given.check_all_met(failures)
    assert tuple(rows) == tuple(given.of(files))
    return rows


def test_the_first_folder_is_the_label(helpers):
    paths = ["rock/queen/a.ogg", "rock/b.ogg", "c.ogg"]
    rows = labels_from_folders(helpers.source_file(0, path=path) for path in paths)
    assert [(row.label, row.group) for row in rows] == [
        ("rock", None),
        ("rock", None),
        (None, None),
    ]


def test_labels_and_groups_are_taken_from_the_file(labels, files):
    rows = labels_from_file(labels(GOOD), files)
    assert [(row.file.path, row.label, row.group) for row in rows] == [
        ("rock/a.ogg", "rock", "Queen"),
        ("b.ogg", None, None),
    ]


def test_none_in_place_of_a_file_gives_no_labels_whatever_the_folders(files):
    rows = labels_from_file(Path("none"), files)
    assert [(row.file, row.label, row.group) for row in rows] == [
        (file, None, None) for file in files
    ]


def test_files_without_a_row_have_no_label(labels, files):
    rows = labels_from_file(labels("track path,label\nb.ogg,pop\n"), files)
    assert [(row.label, row.group) for row in rows] == [(None, None), ("pop", None)]


@pytest.mark.parametrize(
    "content",
    [
        "label,track path,year\npop,b.ogg,1999\n",
        "\ufefftrack path,label\nb.ogg,pop\n",
        "track path,label\r\nb.ogg,pop\r\n",
        'track path,label\n"b.ogg","pop"',
        "track path,label\nb.ogg,pop\n\n\n",
    ],
)
def test_columns_in_any_order_marks_line_ends_and_quotes_are_read(labels, content):
    assert read_labels(labels(content)) == {"b.ogg": Label("pop", None)}


def test_text_is_taken_as_it_stands(labels):
    content = 'track path,label\n007,NA\n"a, b.ogg","rock ""n"" roll"\n"new\nline.ogg",null\n'
    assert read_labels(labels(content)) == {
        "007": Label("NA", None),
        "a, b.ogg": Label('rock "n" roll', None),
        "new\nline.ogg": Label("null", None),
    }


def test_the_sample_labels_fit_the_sample_catalogue(music_root, helpers):
    paths = [path.relative_to(music_root).as_posix() for path in music_root.glob("*/*.*")]
    rows = labels_from_file(
        music_root / "labels.csv", [helpers.source_file(0, path=path) for path in paths]
    )
    assert all(row.label == row.file.path.split("/")[0] and row.group for row in rows)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("track path,label\na.ogg\n", "line 2: 1 fields where the header has 2"),
        ("track path,label\na.ogg,pop\nb.ogg,pop,x\n", "line 3: 3 fields .*put quotes"),
        ("track path,label\n,pop\n", "line 2: the column 'track path' is empty"),
        (
            "track path,label\na.ogg,pop\nb.ogg,pop\na.ogg,rock\n",
            "line 4: 'a.ogg' has a row already; keep one",
        ),
        ('track path,label\na.ogg,"pop\n', "line 2: unexpected end of data"),
        ('track path,label\na.ogg,"pop"x\n', "line 2: ',' expected after '\"'"),
        ("track path,label\na.ogg," + "x" * 200_000, "line 2: field larger than field limit"),
        ("name,label\na,b\n", r"has the columns 'name', 'label' and lacks 'track path'; known are"),
        ("track path;label\na;b\n", r"has the columns 'track path;label' and lacks 'track path'"),
        ("track path\na\n", "has the columns 'track path' and lacks 'label'"),
        ("track path,label\na\0.ogg,pop\n", "line 2: it holds NUL bytes"),
        ("", r"has the columns \(none\) and lacks 'track path'"),
        ("track path,label,label\na,b,c\n", "has more than one column 'label'"),
    ],
)
def test_a_mistake_in_a_csv_is_named_with_its_line(labels, content, message):
    with pytest.raises(LabelsError, match=rf"labels\.csv,? {message}") as caught:
        read_labels(labels(content))
    assert "cannot be read" not in str(caught.value)


@pytest.mark.parametrize("name", ["labels.jsonl", "labels.ndjson"])
def test_json_lines_are_read_like_csv(labels, name):
    content = '{"track path": "a.ogg", "label": "pop"}\n{"track path": "b.ogg", "group": "X"}\n'
    assert read_labels(labels(content, name)) == {
        "a.ogg": Label("pop", None),
        "b.ogg": Label(None, "X"),
    }


def test_the_column_of_a_manifest_is_taken_too(labels):
    assert read_labels(labels("path,label\na.ogg,pop\n")) == {"a.ogg": Label("pop", None)}


def test_labels_of_other_tracks_are_passed_by_for_a_part_of_a_catalogue(labels, files):
    path = labels(GOOD + "gone.ogg,pop,\n")
    assert [row.label for row in labels_from_file(path, files, is_part=True)] == ["rock", None]


def test_text_in_another_encoding_is_refused(labels):
    with pytest.raises(LabelsError, match=r"labels\.csv, line \d is not UTF-8"):
        read_labels(labels("track path,label\ncafé.ogg,pop\n".encode("latin-1")))
    with pytest.raises(LabelsError, match=r"labels\.csv, line \d is not UTF-8"):
        read_labels(labels(GOOD.encode("utf-16")))


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(LabelsError, match=r"gone\.csv does not exist; check --labels"):
        read_labels(tmp_path / "gone.csv")
    with pytest.raises(LabelsError, match=r"is called neither \.csv nor \.parquet nor \.jsonl"):
        read_labels(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(LabelsError, match="cannot be read"):
        read_labels(tmp_path / "folder.csv")


def test_tracks_that_the_catalogue_does_not_have_are_named(labels, files):
    content = GOOD + "".join(f"gone-{number}.ogg,pop,\n" for number in range(5))
    with pytest.raises(
        LabelsError, match=r"names 5 track\(s\) .* 'gone-0.ogg', 'gone-1.ogg', 'gone-2.ogg' \.\.\.;"
    ):
        labels_from_file(labels(content), files)


def test_a_label_may_name_what_the_scan_could_not_read(labels, files):
    path = labels(GOOD + "locked/c.ogg,pop,\nbroken.ogg,pop,\n")
    unreadable = [
        TrackFailure("", f"/music/{name}", "scan", "permission", "")
        for name in ("locked", "broken.ogg")
    ]
    assert len(labels_from_file(path, files, unreadable)) == 2
    with pytest.raises(LabelsError, match=r"names 1 track\(s\) .*'broken\.ogg'"):
        labels_from_file(path, files, unreadable[:1])


# --- Parquet -------------------------------------------------------------------------------------


@pytest.fixture
def parquet(tmp_path):
    def write(table):
        pq.write_table(table, tmp_path / "labels.parquet")
        return tmp_path / "labels.parquet"

    return write


def test_parquet_labels_are_read_like_csv(parquet):
    table = pa.table(
        {
            "label": pa.array(["pop", None]).dictionary_encode(),
            "track path": ["a.ogg", "b.ogg"],
            "group": [7, None],
            "embedding": [[1.0], [2.0]],
        }
    )
    assert read_labels(parquet(table)) == {
        "a.ogg": Label("pop", "7"),
        "b.ogg": Label(None, None),
    }


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"track path": ["a", ""], "label": ["x", "y"]}, "row 2: the column 'track path' is empty"),
        ({"track path": ["a", None], "label": ["x", "y"]}, "row 2: the column 'track path'"),
        ({"track path": ["a", "a"], "label": ["x", "y"]}, "row 2: 'a' has a row already"),
        ({"file": ["a"], "label": ["x"]}, "has the columns 'file', 'label' and lacks 'track path'"),
        (
            {"track path": [b"\xff"], "label": ["x"]},
            "'track path' is of type binary; wanted is text",
        ),
        ({"track path": [["a"]], "label": ["x"]}, "'track path' is of type list"),
    ],
)
def test_a_mistake_in_a_parquet_file_is_named_with_its_row(parquet, columns, message):
    with pytest.raises(LabelsError, match=message):
        read_labels(parquet(pa.table(columns)))


def test_a_repeated_column_is_refused(parquet):
    table = pa.table([["a"], ["x"], ["y"]], names=["track path", "label", "label"])
    with pytest.raises(LabelsError, match="has more than one column 'label'"):
        read_labels(parquet(table))


def test_what_is_no_parquet_file_is_refused(labels):
    with pytest.raises(LabelsError, match=r"labels\.parquet cannot be read"):
        read_labels(labels(GOOD, "labels.parquet"))
