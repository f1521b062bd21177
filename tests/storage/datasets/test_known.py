"""What all loaders share: names, wrong folders, plain folders, manifests and writing them."""

import csv
import os

import pytest

from musichash_core.errors import ParameterError
from storage.catalogue import check_roots
from storage.datasets import DATASETS, DatasetError, DatasetTrack, load_dataset, write_manifest_rows
from storage.errors import StoreError
from storage.manifest import read_manifest, scan_manifest

ODD_NAMES = ["rock/a, b.wav", 'rock/"c".wav', "日本/é.wav", "rock/=1+1.wav", "e.ogg"]


@pytest.fixture
def folder(tree):
    for name in ODD_NAMES:
        tree.raw(name, name.encode())
    tree.raw("rock/cover.jpg")
    tree.raw("rock/._c.wav")
    return tree.root


# --- every data set ---


@pytest.mark.parametrize("name", DATASETS)
def test_a_wrong_folder_is_told_with_what_is_expected_and_where_it_is_described(tree, name):
    tree.raw("holiday/photo.jpg")
    with pytest.raises(DatasetError) as refused:
        load_dataset(name, tree.root)
    message = str(refused.value)
    about = DATASETS[name].about
    assert f"{tree.root} is not laid out like {about.title}: there is no " in message
    assert "(it holds 'holiday')" in message
    assert f"expected is {about.layout}; " in message
    assert about.homepage in message
    assert "\n" not in message
    assert refused.value.is_wrong_input


@pytest.mark.parametrize("name", DATASETS)
def test_a_folder_that_is_none_is_told(tree, name):
    with pytest.raises(DatasetError, match="does not exist; name the one that holds"):
        load_dataset(name, tree.root)
    tree.raw("file")
    with pytest.raises(DatasetError, match="is not a folder"):
        load_dataset(name, tree.root / "file")


def test_a_data_set_without_any_of_its_audio_is_refused(tree):
    tree.text(
        "data/autotagging.tsv",
        "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\nt1\ta\tb\t14/214.mp3\t1\tgenre---x\n",
    )
    with pytest.raises(
        DatasetError, match=r"not one of the 1 audio files is there \(14/214\.mp3\)"
    ):
        load_dataset("mtg-jamendo", tree.root)


def test_an_unknown_name_gets_a_hint(tree):
    with pytest.raises(
        ParameterError, match=r"no data set 'gtsan'; did you mean 'gtzan'\? \(there"
    ):
        load_dataset("gtsan", tree.root)


def test_only_one_data_set_has_several_splits(folder):
    with pytest.raises(ParameterError, match="split number 1: folder has 1, counted from 0"):
        load_dataset("folder", folder, split_number=1)
    assert {name for name, known in DATASETS.items() if len(known.loaders) > 1} == {
        "mtg-jamendo",
        "mtg-jamendo-genre",
        "mtg-jamendo-instrument",
        "mtg-jamendo-moodtheme",
        "mtg-jamendo-top50tags",
    }


# --- a plain folder ---


def test_the_first_folder_is_the_genre(folder, noted):
    dataset = load_dataset("folder", folder)
    assert [(track.path, track.genre) for track in dataset.tracks] == [
        ("e.ogg", None),
        ('rock/"c".wav', "rock"),
        ("rock/=1+1.wav", "rock"),
        ("rock/a, b.wav", "rock"),
        ("日本/é.wav", "日本"),
    ]
    assert noted(dataset)["unlabelled"] == (1, ["e.ogg"])


# --- a manifest, read and written ---


def test_a_written_manifest_names_the_files_that_a_run_reads(folder, tmp_path):
    odd = folder / os.fsdecode(b"caf\xe9") / os.fsdecode(b"\xff.wav")
    odd.parent.mkdir()
    odd.write_bytes(b"not UTF-8")
    dataset = load_dataset("folder", folder)
    write_manifest_rows(tmp_path / "m.csv", dataset.tracks)
    manifest = read_manifest(tmp_path / "m.csv", check_roots([folder]))
    result = scan_manifest(manifest)
    rows = result.catalogue.rows
    assert (manifest.failures, result.failures) == ((), ())
    assert {row.file.path_raw for row in rows} == {
        *(name.encode() for name in ODD_NAMES),
        b"caf\xe9/\xff.wav",
    }
    assert {row.external_id: row.label for row in rows} == {
        track.track_id: track.genre for track in dataset.tracks
    }
    assert manifest.passed_by == ("split", "tags", "duration_s")


def test_every_column_comes_back(tree, tmp_path):
    tracks = [
        DatasetTrack("a/1.wav", "007", "hip, hop", ("x y", 'z"'), "Ärtist\nB", "validation", 29.5),
        DatasetTrack("a/2.wav", "NA"),
    ]
    for track in tracks:
        tree.raw(track.path)
    write_manifest_rows(tree.root / "manifest.csv", tracks)
    assert list(load_dataset("manifest", tree.root).tracks) == tracks
    with (tree.root / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "path": "a/1.wav",
        "id": "007",
        "label": "hip, hop",
        "group": "Ärtist\nB",
        "split": "validation",
        "tags": 'x y;z"',
        "duration_s": "29.5",
    }
    assert set(rows[1].values()) == {"a/2.wav", "NA", ""}


def test_a_manifest_may_call_columns_by_their_long_names(tree):
    tree.raw("b.wav")
    tree.text(
        "manifest.csv",
        "track_id,path,group_id,genre,tags,duration,source\r\n1,b.wav,g,rock,a; b,3,x\r\n"
        "2,gone.wav,,,,,\r\n",
    )
    dataset = load_dataset("manifest", tree.root)
    assert dataset.tracks == (DatasetTrack("b.wav", "1", "rock", ("a", "b"), "g", duration_s=3.0),)
    assert [(note.kind, note.examples) for note in dataset.notes] == [
        ("missing", ("gone.wav",)),
        ("no-split", ("b.wav",)),
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("b.wav,2,\nb.wav,3,\n", "line 3 of manifest.csv: 'b.wav' was met before, in line 2"),
        ("b.wav,2,\nc.wav,2,\n", "line 3 of manifest.csv: '2' was met before"),
        ("../b.wav,2,\n", "line 2 of manifest.csv: '../b.wav' is no plain path"),
        ("/b.wav,2,\n", "line 2 of manifest.csv: '/b.wav' is no plain path"),
        (",2,\n", "line 2 of manifest.csv: '' is no plain path"),
        ("b.wav,2,dev\n", "line 2 of manifest.csv: the split 'dev' is none of train, validation"),
        ("b.wav,2\n", "line 2: 2 fields where the header has 3"),
    ],
)
def test_a_damaged_manifest_is_refused_by_its_line(tree, rows, message):
    tree.raw("b.wav")
    tree.text("manifest.csv", "path,id,split\n" + rows)
    with pytest.raises(DatasetError, match=message):
        load_dataset("manifest", tree.root)


def test_tags_that_cannot_be_told_apart_are_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"a\.wav: the tags .* hold a ';'"):
        write_manifest_rows(tmp_path / "m.csv", [DatasetTrack("a.wav", "1", tags=("x;y",))])
    assert not (tmp_path / "m.csv").exists()


def test_only_a_manifest_of_the_same_kind_is_replaced(tmp_path):
    path = tmp_path / "m.csv"
    write_manifest_rows(path, [DatasetTrack("a.wav", "1")])
    write_manifest_rows(path, [DatasetTrack("b.wav", "2")])
    assert "b.wav" in path.read_text()
    path.write_text("track_id,title\n")
    with pytest.raises(DatasetError, match=r"m\.csv exists and is no manifest that this command"):
        write_manifest_rows(path, [DatasetTrack("a.wav", "1")])
    assert path.read_text() == "track_id,title\n"


def test_a_manifest_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"m\.csv cannot be written: .*; name another file"):
        write_manifest_rows(tmp_path / "file" / "m.csv", [DatasetTrack("a.wav", "1")])


def test_a_manifest_may_name_what_is_not_utf_8(folder, tmp_path):
    odd = folder / os.fsdecode(b"caf\xe9") / os.fsdecode(b"\xff.wav")
    odd.parent.mkdir()
    odd.write_bytes(b"not UTF-8")
    tracks = load_dataset("folder", folder).tracks
    write_manifest_rows(folder / "manifest.csv", tracks)
    assert load_dataset("manifest", folder).tracks == tracks
