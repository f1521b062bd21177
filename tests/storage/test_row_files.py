"""Rows of text files: read as they stand, and every mistake named with its line."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.errors import RowFileError
from storage.row_columns import Column, RowFile
from storage.row_files import MAX_LINE_CHARACTERS, read_rows


class ShelfError(RowFileError):
    """Raised by these tests' kind of file."""


SHELF = RowFile(
    kind="shelf list",
    option="--shelf",
    error=ShelfError,
    columns=(Column(("path", "track path"), is_required=True), Column(("label",)), Column(("id",))),
)


@pytest.fixture
def shelf(tmp_path):
    """Write a file of some content, read it, give its rows."""

    def read(content, name="shelf.csv"):
        path = tmp_path / name
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_rows(path, SHELF)

    return read


def values(found):
    return [row.values for row in found.rows]


def jsonl(*rows):
    return "".join(f"{json.dumps(row)}\n" for row in rows)


ODD_TEXTS = ("007", "NA", "null", "", " a ", "1e5", "TRUE", "ü\u202e", 'say "hi", x', "-1", "a\nb")


@pytest.mark.parametrize("suffix", ["csv", "CSV", "parquet", "jsonl", "ndjson"])
def test_text_comes_back_as_it_stands_in_every_format(shelf, tmp_path, suffix):
    import csv
    import io

    if suffix.lower() == "csv":
        text = io.StringIO()
        csv.writer(text).writerows([["path", "label"], *((odd, odd) for odd in ODD_TEXTS)])
        content = text.getvalue()
    elif suffix == "parquet":
        content = pa.table({"path": ODD_TEXTS, "label": ODD_TEXTS})
    else:
        content = jsonl(*({"path": odd, "label": odd} for odd in ODD_TEXTS))
    found = shelf(content, f"shelf.{suffix}")
    assert values(found) == [(odd, odd, None) for odd in ODD_TEXTS]
    assert found.present == (True, True, False)


@pytest.mark.parametrize(
    "content",
    [
        "id,path,label,year\n7,a,x,1999\n",
        "\ufeffpath,id,label\na,7,x\n",
        "path,id,label\r\na,7,x\r\n",
        "path,id,label\ra,7,x\r",
        '"path","id","label"\n"a","7","x"',
        "track path,id,label\n\na,7,x\n\n\n",
    ],
)
def test_order_marks_line_ends_quotes_and_empty_lines_make_no_difference(shelf, content):
    assert values(shelf(content)) == [("a", "x", "7")]


def test_places_are_the_lines_where_rows_begin(shelf):
    found = shelf('path,label\n"a\nb",x\n\nc,"y\nz"\nd,\n')
    assert [row.place for row in found.rows] == ["line 2", "line 5", "line 7"]
    found = shelf('{"path": "a"}\n\n{"path": "b"}\n', "shelf.jsonl")
    assert [row.place for row in found.rows] == ["line 1", "line 3"]
    found = shelf(pa.table({"path": ["a", "b"]}), "shelf.parquet")
    assert [row.place for row in found.rows] == ["row 1", "row 2"]


def test_columns_that_mean_nothing_are_passed_by_and_named(shelf):
    found = shelf("year,path,bpm\n1999,a,120\n")
    assert (values(found), found.passed_by) == ([("a", None, None)], ("year", "bpm"))
    found = shelf('{"path": "a", "bpm": [1, {"x": null}]}\n', "shelf.jsonl")
    assert (values(found), found.passed_by) == ([("a", None, None)], ("bpm",))
    found = shelf(pa.table({"path": ["a"], "vector": [[1.0]]}), "shelf.parquet")
    assert (values(found), found.passed_by) == ([("a", None, None)], ("vector",))


@pytest.mark.parametrize("name", ["uid", "ids", "lyrics", "paths2", "titles"])
def test_names_that_are_merely_like_a_short_one_are_no_mistake(shelf, name):
    assert shelf(f"path,label,{name}\na,x,1\n").passed_by == (name,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,label\na\n", "line 2: 1 fields where the header has 2; put quotes around"),
        (b"path,label\na,x\nb,x,y\n", "line 3: 3 fields where the header has 2"),
        (b'path,label\na,x\nb,"x\nc,x\n', "line 3: unexpected end of data: a quote is opened in "),
        (b'path,label\na,"x"y\n', "line 2: ',' expected after '\"'"),
        (b'path,label\na,x\nb,"' + b"x\n" * 90_000, "line 3: field larger than field limit .*quot"),
        (
            b"path,label\na,x\n" + b"y" * (MAX_LINE_CHARACTERS + 1),
            "line 3: it is longer than 1,000",
        ),
        (
            "path,label\na,x\ncafé,x\n".encode("latin-1"),
            "line 3 is not UTF-8: byte 0xe9 at char.* 4",
        ),
        ("path,label\na,x\n".encode("utf-16"), "line 1 is not UTF-8: byte 0xff"),
        ("path,label\na,x\n".encode("utf-16-le"), "line 1: it holds NUL bytes"),
        (b"\x89PNG\r\n\x1a\n\0\0", "line 1 is not UTF-8: byte 0x89"),
        (b"", r"has the columns \(none\) and lacks 'path'; known are 'path', 'label', 'id'"),
        (b"label\nx\n", "has the columns 'label' and lacks 'path'"),
        (b"Path,label\na,x\n", "has .* lacks 'path' .did you mean it by 'Path'.*; known are"),
        (b"pth,label\na,x\n", "has .* lacks 'path' .did you mean it by 'pth'"),
        (b"track_path,label\na,x\n", "has .* lacks 'path' .did you mean it by 'track_path'"),
        (b"path;label\na;x\n", "has the columns 'path;label' and lacks 'path'"),
        (b"path,lable\na,x\n", "has a column 'lable'; did you mean 'label'[?]"),
        (b"path,labels\na,x\n", "has a column 'labels'; did you mean 'label'[?]"),
        (b"path, ID \na,x\n", "has a column ' ID '; did you mean 'id'[?]"),
        (b"path,label,label\na,x,y\n", "has more than one column 'label' .'label', 'label'.; keep"),
        (b"path,track path\na,b\n", "has more than one column 'path' .'path', 'track path'."),
    ],
)
def test_a_mistake_in_a_csv_file_is_named_with_its_line(shelf, content, message):
    with pytest.raises(ShelfError, match=rf"shelf\.csv,? {message}") as caught:
        shelf(content)
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"path": "a"}\n{"path": }\n', "line 2: Expecting value at character 10"),
        (b'{"path": "a"}\n["b"]\n', "line 2: it holds no JSON object"),
        (b'{"path": "a"} {"path": "b"}\n', "line 1: Extra data at character 15"),
        (b'{"path": "a", "path": "b"}\n', "line 1: the key 'path' stands twice"),
        (b'{"path": "a", "more": {"x": 1, "x": 2}}\n', "line 1: the key 'x' stands twice"),
        (b'{"path": "a", "label": true}\n', "line 1: 'label' is true or false; wanted is text"),
        (b'{"path": ["a"]}\n', "line 1: 'path' is a list"),
        (b'{"path": {"a": 1}}\n', "line 1: 'path' is an object"),
        (b'{"path": "a", "label": NaN}\n', "line 1: NaN is no JSON value"),
        (b'{"path": "\\ud800.ogg"}\n', "line 1: 'path' holds half of a surrogate pair"),
        (b'{"pth": "a"}\n', "has the columns 'pth' and lacks 'path' .did you mean it by 'pth'"),
        (b'{"path": "a", "lable": "x"}\n', "has a column 'lable'; did you mean 'label'"),
        (b"[" * 200_000 + b"\n", "line 1: it is nested too deeply"),
        (b'{"path": "caf\xe9"}\n', "line 1 is not UTF-8: byte 0xe9"),
        (b'{"path": "a', "line 1: Unterminated string"),
        (b"", r"has the columns \(none\) and lacks 'path'"),
    ],
)
def test_a_mistake_in_a_file_of_json_lines_is_named_with_its_line(shelf, content, message):
    with pytest.raises(ShelfError, match=rf"shelf\.jsonl,? {message}"):
        shelf(content, "shelf.jsonl")


def test_numbers_in_json_lines_keep_their_spelling(shelf):
    content = b'\xef\xbb\xbf{"path": "a", "id": 12345678901234567890123}\n{"path": "b", "id": 1.50}'
    assert values(shelf(content, "shelf.jsonl")) == [
        ("a", None, "12345678901234567890123"),
        ("b", None, "1.50"),
    ]


def test_missing_keys_and_null_are_no_text(shelf):
    content = jsonl({"path": "a"}, {"path": None, "label": "x"}, {"id": "7"})
    assert values(shelf(content, "shelf.jsonl")) == [
        ("a", None, None),
        (None, "x", None),
        (None, None, "7"),
    ]


def test_whole_numbers_and_coded_text_in_parquet_are_text(shelf):
    table = pa.table(
        {
            "path": pa.array(["a", "b"]).dictionary_encode(),
            "label": pa.array(["x", None], pa.large_string()),
            "id": pa.array([7, None], pa.int64()),
        }
    )
    assert values(shelf(table, "shelf.parquet")) == [("a", "x", "7"), ("b", None, None)]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"path": [1.5]}, ": the column 'path' is of type double; wanted is text"),
        ({"path": [["a"]]}, ": the column 'path' is of type list"),
        ({"path": [b"a"]}, ": the column 'path' is of type binary"),
        ({"path": ["a"], "label": [True]}, ": the column 'label' is of type bool"),
        ({"paths": ["a"]}, " has the columns 'paths' and lacks 'path' .did you mean it by 'paths'"),
    ],
)
def test_columns_of_parquet_that_are_no_text_are_refused_by_name(shelf, columns, message):
    with pytest.raises(ShelfError, match=rf"shelf\.parquet{message}"):
        shelf(pa.table(columns), "shelf.parquet")


def test_what_is_no_parquet_file_is_refused(shelf):
    with pytest.raises(ShelfError, match=r"shelf\.parquet cannot be read: \S") as caught:
        shelf(b"path,label\n", "shelf.parquet")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_a_folder_or_of_another_kind_is_named(tmp_path):
    with pytest.raises(
        ShelfError, match=r"the shelf list .*gone\.csv does not exist; check --shelf"
    ):
        read_rows(tmp_path / "gone.csv", SHELF)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ShelfError, match="cannot be read"):
        read_rows(tmp_path / "folder.csv", SHELF)
    with pytest.raises(ShelfError, match=r"shelf\.xlsx is called neither \.csv nor \.parquet nor"):
        read_rows(tmp_path / "shelf.xlsx", SHELF)
