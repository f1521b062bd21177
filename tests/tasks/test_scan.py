"""Scanning: identities, labels, and that nothing is written before it is recorded."""

import csv

import pytest

from storage.errors import ArtefactMissingError, CatalogueError, LabelsError
from tasks.scan import check_catalogues, look, record, recorded


def test_labels_are_folders_and_counts_are_told(store, three_tracks):
    (three_tracks.root / "cover.jpg").write_bytes(b"x")
    three_tracks.add("loose.wav", 500)
    found = look(store, [str(three_tracks.root)])
    labels = {row.file.path: row.label for row in found.catalogue.rows}
    assert labels == {
        "high/b.wav": "high",
        "high/c.mp3": "high",
        "loose.wav": None,
        "low/a.wav": "low",
    }
    assert found.counts == {
        "files": 4,
        "tracks": 4,
        "hashed": 4,
        "unreadable": 0,
        "ignored": 1,
        "labels": 2,
    }


def test_looking_writes_nothing_and_recording_makes_it_known(store, three_tracks, tmp_path):
    root = [str(three_tracks.root)]
    before = sorted((tmp_path / "store").rglob("*"))
    found = look(store, root)
    assert sorted((tmp_path / "store").rglob("*")) == before
    with pytest.raises(ArtefactMissingError, match="musichash scan"):
        recorded(store)
    record(store, found.catalogue)
    assert recorded(store) == found.catalogue


def test_unchanged_files_are_not_read_again(store, three_tracks):
    root = [str(three_tracks.root)]
    first = look(store, root)
    record(store, first.catalogue)
    three_tracks.add("low/new.wav", 600)
    told = []
    second = look(store, root, on_progress=lambda *counts: told.append(counts))
    assert second.n_hashed == 1
    assert {row.file for row in first.catalogue.rows} < {row.file for row in second.catalogue.rows}
    assert told == [(number, 4) for number in range(1, 5)]


def test_a_labels_file_gives_labels_and_groups(store, three_tracks, tmp_path):
    path = tmp_path / "labels.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["track path", "label", "group"])
        writer.writerow(["low/a.wav", "bass, deep", "Ada"])
    found = look(store, [str(three_tracks.root)], labels=str(path))
    rows = {row.file.path: (row.label, row.group) for row in found.catalogue.rows}
    assert rows["low/a.wav"] == ("bass, deep", "Ada")
    assert rows["high/b.wav"] == (None, None)


def test_a_labels_file_that_names_missing_tracks_is_refused(store, three_tracks, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("track path,label\nlow/gone.wav,low\n")
    with pytest.raises(LabelsError, match=r"labels\.csv names 1 track\(s\).*'low/gone\.wav'"):
        look(store, [str(three_tracks.root)], labels=str(path))


def test_two_catalogues_are_one_scan(store, three_tracks, tmp_path):
    other = tmp_path / "other" / "brass"
    other.mkdir(parents=True)
    (other / "same.wav").write_bytes((three_tracks.root / "low/a.wav").read_bytes())
    found = look(store, [str(three_tracks.root), str(tmp_path / "other")])
    assert found.counts["files"] == 4
    assert found.counts["tracks"] == 3


@pytest.mark.parametrize("roots", [[], ["nowhere"]])
def test_catalogues_are_checked_before_anything_starts(tmp_path, roots):
    with pytest.raises(CatalogueError, match=r"--catalogue|does not exist"):
        check_catalogues([str(tmp_path / root) for root in roots])
