"""FMA: three rows of header, quoted commas and lines, sizes that contain one another."""

import csv
import io

import pytest

from storage.datasets import DatasetError
from storage.datasets.fma import load_fma

# The columns of fma_metadata.zip, in its order, without most of those that nobody needs here.
COLUMNS = [
    *("album.id", "album.title", "artist.bio", "artist.id", "artist.name", "set.split"),
    *("set.subset", "track.bit_rate", "track.duration", "track.genre_top", "track.genres"),
    *("track.genres_all", "track.title"),
]
HEADERS = [
    ["", *(name.split(".")[0] for name in COLUMNS)],
    ["", *(name.split(".")[1] for name in COLUMNS)],
    ["track_id", *("" for _ in COLUMNS)],
]
BIO = 'They said "no, never",\nand\r\nplayed on; ünïcödé'


def row(track_id, **changed):
    values = {
        "album": "1",
        "album_title": "AWOL, a way of life",
        "bio": BIO,
        "artist": "7",
        "name": 'The "Quoted" Band',
        "split": "training",
        "subset": "small",
        "bit_rate": "256000",
        "duration": "168",
        "genre_top": "Hip-Hop",
        "genres": "[21]",
        "genres_all": "[21]",
        "title": "Food, and = drink",
    } | changed
    return [track_id, *values.values()]


def as_csv(rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


@pytest.fixture
def fma(tree):
    def write(*rows, headers=HEADERS, genres=True):
        tree.text("fma_metadata/tracks.csv", as_csv([*headers, *rows]))
        if genres:
            tree.text(
                "fma_metadata/genres.csv",
                "genre_id,#tracks,parent,title,top_level\n21,12693,0,Hip-Hop,21\n"
                '10,13845,0,Pop,10\n66,20,12,"Rock, and so on",12\n',
            )
        return tree

    return write


def test_a_row_becomes_a_track(fma, by_id):
    tree = fma(
        row("2", genres_all="[21, 66, 9999]"),
        row("5", split="validation", artist="8", duration="12.5", genre_top="Pop"),
        row("140123", split="test", artist="9"),
    )
    for path in ("000/000002.mp3", "000/000005.mp3", "140/140123.mp3"):
        tree.raw(f"fma_small/{path}")
    tracks = by_id(load_fma(tree.root, "small"))
    assert list(tracks) == ["2", "5", "140123"]
    first = tracks["2"]
    assert (first.path, first.genre, first.group, first.split, first.duration_s) == (
        "fma_small/000/000002.mp3",
        "Hip-Hop",
        "7",
        "train",
        30.0,  # a clip out of 168 s
    )
    assert first.tags == ("Hip-Hop", "Rock, and so on", "9999")
    assert (tracks["5"].split, tracks["5"].duration_s, tracks["5"].genre) == (
        "validation",
        12.5,
        "Pop",
    )
    assert tracks["140123"].path == "fma_small/140/140123.mp3"


@pytest.mark.parametrize(
    ("size", "expected"), [("small", ["2"]), ("medium", ["2", "3"]), ("large", ["2", "3", "4"])]
)
def test_a_size_contains_the_smaller_ones(fma, noted, size, expected):
    tree = fma(
        row("2"),
        row("3", subset="medium"),
        row("4", subset="large", genre_top=""),
        row("9", subset=""),
    )
    for track_id in range(2, 10):
        tree.raw(f"fma_{size}/000/00000{track_id}.mp3")
    dataset = load_fma(tree.root, size)
    assert [track.track_id for track in dataset.tracks] == expected
    assert dataset.about.name == f"fma-{size}"
    # It has a tag, so that it is not without any label.
    assert "unlabelled" not in noted(dataset)


def test_missing_clips_are_counted_and_a_root_genre_may_be_unknown(fma, noted):
    tree = fma(row("2", genre_top="", genres_all="[]"), *(row(str(n)) for n in range(3, 8)))
    tree.raw("fma_small/000/000002.mp3")
    dataset = load_fma(tree.root, "small")
    assert [(track.genre, track.tags) for track in dataset.tracks] == [(None, ())]
    assert noted(dataset) == {
        "missing": (5, [f"fma_small/000/00000{number}.mp3" for number in (3, 4, 5)]),
        "unlabelled": (1, ["fma_small/000/000002.mp3"]),
    }


def test_the_folder_of_the_clips_may_be_named_with_the_metadata_beside_it(fma):
    tree = fma(row("2"))
    tree.raw("fma_small/000/000002.mp3")
    dataset = load_fma(tree.root / "fma_small", "small")
    assert [track.path for track in dataset.tracks] == ["000/000002.mp3"]


def test_without_genres_csv_tags_stay_numbers(fma):
    tree = fma(row("2", genres_all="[21, 10]"), genres=False)
    tree.raw("fma_small/000/000002.mp3")
    assert load_fma(tree.root, "small").tracks[0].tags == ("21", "10")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("2"), r"line 7 of tracks\.csv: '2' was met before, in line 4 of tracks\.csv"),
        (row("x"), r"line 7 of tracks\.csv: the track id 'x' is no whole number"),
        (row("3", split="dev"), r"line 7 .*: the split 'dev' is none of 'training', "),
        (row("3", genres_all="21"), r"line 7 .*: the genres '21' are no list"),
        (row("3", duration="3:20"), r"line 7 .*: the duration '3:20' is no number"),
        (row("3")[:-1], r"line 7 .*: 13 fields where the header has 14"),
    ],
)
def test_a_damaged_row_is_refused_by_its_line(fma, bad, message):
    # The row before it takes three lines: its biography has line ends in it.
    tree = fma(row("2"), bad)
    tree.raw("fma_small/000/000002.mp3")
    with pytest.raises(DatasetError, match=message):
        load_fma(tree.root, "small")


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ([["track_id", "title"], ["1", "a"], ["2", "b"]], "does not begin with FMA's three rows"),
        (
            [HEADERS[0], [*HEADERS[1][:6], "part", *HEADERS[1][7:]], HEADERS[2]],
            "no column 'set.split'",
        ),
        (
            [HEADERS[0], [*HEADERS[1][:-1], "duration"], HEADERS[2]],
            "more than one .*track.duration",
        ),
    ],
)
def test_a_table_with_other_columns_is_refused(fma, headers, message):
    tree = fma(headers=headers)
    tree.raw("fma_small/000/000002.mp3")
    with pytest.raises(DatasetError, match=message):
        load_fma(tree.root, "small")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "cannot be read from line 1 on: 'utf-8' codec"),
        (b'a\n"b', "cannot be read from line 2 on: unexpected end of data"),
        (b"a\nb\0c\n", "cannot be read from line 2 on: it holds NUL bytes"),
    ],
)
def test_a_table_that_is_no_text_is_refused(tree, content, message):
    tree.raw("fma_metadata/tracks.csv", content)
    tree.raw("fma_small/000/000002.mp3")
    with pytest.raises(DatasetError, match=message):
        load_fma(tree.root, "small")


def test_the_clips_of_another_size_are_not_enough(fma):
    tree = fma(row("2"))
    tree.raw("fma_small/000/000002.mp3")
    with pytest.raises(DatasetError, match="there is no folder 'fma_medium/'"):
        load_fma(tree.root, "medium")
