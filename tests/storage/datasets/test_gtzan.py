"""GTZAN: the thousand tracks, the published split in both forms of its lists, artists."""

import pytest

from storage.datasets import DatasetError
from storage.datasets.gtzan import load_gtzan

# blues.00029 is number 30, jazz.00054 number 555 and rock.00099 number 1000 of all, counted from 1.
BY_NAME = {
    "train_filtered.txt": "blues/blues.00029.wav\njazz/jazz.00054.wav\n",
    "valid_filtered.txt": "blues/blues.00003.wav\n",
    "test_filtered.txt": "rock/rock.00099.wav\n",
}
BY_NUMBER = {
    "train_filtered.txt": "          30\n         555",
    "valid_filtered.txt": "           4",
    "test_filtered.txt": "        1000",
}


@pytest.fixture
def gtzan(tree):
    tree.sound("genres/blues/blues.00029.wav")
    tree.sound("genres/blues/blues.00003.wav")
    tree.sound("genres/blues/blues.00004.wav")
    tree.sound("genres/rock/rock.00099.au")
    tree.raw("genres/jazz/jazz.00054.wav", b"")
    tree.raw("genres/rock/rock.mf", b"a list of the collection")
    return tree


def test_without_lists_every_track_but_the_corrupt_one_is_taken(gtzan, noted):
    dataset = load_gtzan(gtzan.root)
    assert [(track.path, track.track_id, track.genre) for track in dataset.tracks] == [
        ("genres/blues/blues.00003.wav", "blues.00003", "blues"),
        ("genres/blues/blues.00004.wav", "blues.00004", "blues"),
        ("genres/blues/blues.00029.wav", "blues.00029", "blues"),
        ("genres/rock/rock.00099.au", "rock.00099", "rock"),
    ]
    notes = noted(dataset)
    assert notes["missing"][0] == 1000 - 1 - 4
    assert notes["corrupt"] == (1, ["jazz.00054"])
    assert notes["no-split"][0] == notes["no-group"][0] == 4
    assert "faulty" not in notes


@pytest.mark.parametrize("lists", [BY_NAME, BY_NUMBER])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_the_lists_give_the_split_and_leave_the_faulty_out(gtzan, noted, lists, line_end):
    for name, content in lists.items():
        gtzan.text(name, content.replace("\n", line_end))
    dataset = load_gtzan(gtzan.root)
    assert [(track.track_id, track.split) for track in dataset.tracks] == [
        ("blues.00003", "validation"),
        ("blues.00029", "train"),
        ("rock.00099", "test"),
    ]
    notes = noted(dataset)
    assert notes["faulty"][0] == 1000 - 4
    assert notes["corrupt"] == (1, ["jazz.00054"])
    assert "missing" not in notes


@pytest.mark.parametrize("below", ["genres_original", "Data/genres_original", ""])
def test_the_genres_may_lie_elsewhere(tree, below):
    tree.raw(f"{below}/pop/pop.00000.wav".lstrip("/"))
    assert [track.path for track in load_gtzan(tree.root).tracks] == [
        f"{below}/pop/pop.00000.wav".lstrip("/")
    ]


def test_the_folder_of_the_genres_itself_may_be_named(gtzan):
    paths = [track.path for track in load_gtzan(gtzan.root / "genres").tracks]
    assert paths[0] == "blues/blues.00003.wav"


def test_artists_are_groups_and_one_in_two_splits_is_told(gtzan, by_id, noted):
    for name, content in BY_NAME.items():
        gtzan.text(name, content)
    gtzan.text(
        "artists.csv",
        'id,artist\r\nblues.00029,"Hooker, John Lee"\r\n'
        'blues/blues.00003.wav,"Hooker, John Lee"\r\n'
        "rock.00099,Motörhead\r\n",
    )
    dataset = load_gtzan(gtzan.root)
    assert {name: track.group for name, track in by_id(dataset).items()} == {
        "blues.00003": "Hooker, John Lee",
        "blues.00029": "Hooker, John Lee",
        "rock.00099": "Motörhead",
    }
    assert noted(dataset)["straddling"] == (2, ["Hooker, John Lee"])


def test_a_part_of_the_lists_is_refused(gtzan):
    gtzan.text("train_filtered.txt", BY_NAME["train_filtered.txt"])
    with pytest.raises(DatasetError, match=r"valid_filtered\.txt and test_filtered\.txt not there"):
        load_gtzan(gtzan.root)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("blues/blues.00029.wav", r"line 2 of test_filtered\.txt: 'blues\.00029' was met before"),
        ("blues/blues.00100.wav", r"line 2 of test_filtered\.txt: .* names no track"),
        ("polka/polka.00001.wav", r"line 2 of test_filtered\.txt: .* names no track"),
        ("1001", r"line 2 of test_filtered\.txt: '1001' names no track"),
        ("0", r"line 2 of test_filtered\.txt: '0' names no track"),
    ],
)
def test_a_damaged_list_is_refused_by_its_line(gtzan, line, message):
    for name, content in BY_NAME.items():
        gtzan.text(name, content)
    gtzan.text("test_filtered.txt", f"rock/rock.00099.wav\n{line}\n")
    with pytest.raises(DatasetError, match=message):
        load_gtzan(gtzan.root)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("rock.1,Queen", r"line 3 of artists\.csv: 'rock\.1' names no track"),
        ("blues.00000,B. B. King", r"line 3 of artists\.csv: 'blues\.00000' was met before"),
        ("rock.00000,Queen,1", "3 fields where the header has 2"),
    ],
)
def test_damaged_artists_are_refused_by_their_line(gtzan, row, message):
    gtzan.text("artists.csv", f"id,artist\nblues.00000,B. B. King\n{row}\n")
    with pytest.raises(DatasetError, match=message):
        load_gtzan(gtzan.root)


def test_folders_of_genres_with_other_files_are_not_gtzan(tree):
    tree.raw("rock/queen.wav")
    with pytest.raises(DatasetError, match=r"not laid out like GTZAN: .* \(it holds 'rock'\)"):
        load_gtzan(tree.root)
