"""Rows as text: cells that no spreadsheet runs, numbers that stay numbers, JSON of every type."""

import csv
import datetime
import io
import json

import pyarrow as pa
import pytest

from storage.table_text import csv_pieces, json_pieces

# From https://owasp.org/www-community/attacks/CSV_Injection and its usual evasions.
FORMULAS = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "\ttab",
    "  =1+1",
    "\u00a0=1+1",
    "\ufeff=1+1",
    "\u200b=1+1",
    "\u202e=1+1",
    "\x00=1+1",
    "＝1+1",
    "＋1",
    "－1",
    "＠SUM",
    "﹦1",
    '=HYPERLINK("http://x","y")',
    "=cmd|' /C calc'!A0",
    "-",
]
HARMLESS = [
    "",
    "a=1",
    "1+1",
    "/music/=1.ogg",
    "'=1",
    '"=1"',
    "é-x",
    "(-1)",
    " x",
    "#1",
    "日本",
    "a\n=1",
]


def csv_cells(table, **how):
    text = "".join(csv_pieces(table.to_batches(), table.schema, **how))
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def json_rows(table):
    text = "".join(json_pieces(table.to_batches(), table.schema))
    assert text.count("\n") == len(table)
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("text", FORMULAS, ids=ascii)
def test_text_that_a_spreadsheet_would_run_gets_an_apostrophe(text):
    table = pa.table({"x": [text]})
    assert csv_cells(table) == [["x"], ["'" + text]]
    assert csv_cells(table, is_raw=True) == [["x"], [text]]


@pytest.mark.parametrize("text", HARMLESS, ids=ascii)
def test_other_text_stays_as_it_is(text):
    assert csv_cells(pa.table({"x": [text]})) == [["x"], [text]]


def test_text_is_quoted_so_that_no_other_separator_splits_it():
    table = pa.table({"x": ["a;=1+1", 'b";=1'], "n": [1, 2]})
    text = "".join(csv_pieces(table.to_batches(), table.schema))
    assert text == '"x","n"\n"a;=1+1",1\n"b"";=1",2\n'


EVERY_TYPE = pa.table(
    {
        "text": pa.array(["ü, 1", None]),
        "whole": pa.array([-7, None], pa.int64()),
        "short": pa.array([0.1, -1.5e-30], pa.float32()),
        "long": pa.array([0.1, float("nan")], pa.float64()),
        "bytes": pa.array([b"\x00\xff", b""], pa.binary()),
        "fixed": pa.array([b"\x01\x02", b"=1"], pa.binary(2)),
        "flag": pa.array([True, False]),
        "time": pa.array([datetime.datetime(2026, 11, 22, 1, 2, 3, 4000, datetime.UTC), None]),
        "texts": pa.array([["=1", 'a"b'], []], pa.list_(pa.string())),
        "floats": pa.array([[0.1, 2.0], [1.0, 3.0]], pa.list_(pa.float32(), 2)),
        "map": pa.array([[("rock", 0.1)], []], pa.map_(pa.string(), pa.float32())),
    }
)


def test_every_type_has_a_form_in_csv():
    _, first, second = csv_cells(EVERY_TYPE)
    assert first == [
        *("ü, 1", "-7", "0.1", "0.1", "00ff", "0102", "true", "2026-11-22T01:02:03.004000+00:00"),
        *('["=1", "a\\"b"]', "[0.1, 2.0]", '{"rock": 0.1}'),
    ]
    assert second == ["", "", "-1.5e-30", "", "", "3d31", "false", "", "[]", "[1.0, 3.0]", "{}"]


def test_every_type_has_a_form_in_json():
    first, second = json_rows(EVERY_TYPE)
    assert list(first.values()) == [
        *("ü, 1", -7, 0.1, 0.1, "00ff", "0102", True, "2026-11-22T01:02:03.004000+00:00"),
        *(["=1", 'a"b'], [0.1, 2.0], {"rock": 0.1}),
    ]
    assert list(second.values()) == [
        *(None, None, -1.5e-30, None, "", "3d31", False, None, [], [1.0, 3.0], {}),
    ]


def test_rows_of_several_batches_follow_one_header():
    table = pa.concat_tables([pa.table({"x": [1, 2]}), pa.table({"x": [3]})])
    assert csv_cells(table) == [["x"], ["1"], ["2"], ["3"]]
    assert csv_cells(table.slice(0, 0)) == [["x"]]
    assert json_rows(table) == [{"x": 1}, {"x": 2}, {"x": 3}]


ACTING = "a\x1b[2J\u202eb\u2028\x9b\x7f\U000e0041c"


def test_nothing_in_json_acts_on_a_terminal_and_nothing_is_lost():
    table = pa.table({"x": [ACTING + "\nd"]})
    text = "".join(json_pieces(table.to_batches(), table.schema))
    assert text.rstrip("\n").isprintable()
    assert json.loads(text) == {"x": ACTING + "\nd"}


def test_csv_for_a_terminal_has_escapes_and_csv_for_a_file_the_text():
    table = pa.table({"x": [ACTING]})
    assert csv_cells(table, for_terminal=True)[1] == [
        "a\\x1b[2J\\u202eb\\u2028\\x9b\\x7f\\U000e0041c"
    ]
    assert csv_cells(table)[1] == [ACTING]
