"""Scanning: identities, labels, and that nothing is written before it is recorded."""

import csv

import pytest

from musichash_core.records import SourceFile, TrackFailure
from storage.catalogue import Catalogue, CatalogueRow
from storage.errors import ArtefactMissingError, CatalogueError, LabelsError, ManifestError
from tasks.scan import check_catalogues, look, record, recorded, together


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


# --- a manifest ---


@pytest.fixture
def manifest(tmp_path):
    """Write a manifest; give its path."""

    def write(content):
        (tmp_path / "tonight.csv").write_text(content, encoding="utf-8")
        return str(tmp_path / "tonight.csv")

    return write


def test_a_manifest_chooses_the_files_and_its_bad_rows_are_rows(store, three_tracks, manifest):
    three_tracks.add("not/named.wav", 700)
    listed = manifest("path,id,bpm\nlow/a.wav,7,1\nhigh/b.wav,=1+1,2\n../x.wav,9,3\n")
    found = look(store, [str(three_tracks.root)], manifest=listed)
    assert [(row.file.path, row.external_id, row.label) for row in found.catalogue.rows] == [
        ("high/b.wav", "=1+1", "high"),
        ("low/a.wav", "7", "low"),
    ]
    (failure,) = found.catalogue.failures
    assert failure.code == "outside-root"
    assert "line 4 of tonight.csv" in failure.message
    assert found.passed_by == ("bpm",)
    assert (found.counts["files"], found.counts["unreadable"], found.counts["ignored"]) == (2, 1, 0)
    record(store, found.catalogue)
    assert recorded(store) == found.catalogue
    again = look(store, [str(three_tracks.root)], manifest=listed)
    assert (again.n_hashed, again.catalogue) == (0, found.catalogue)


def test_labels_of_a_manifest_go_before_folders(store, three_tracks, manifest):
    listed = manifest("path,label,group\nlow/a.wav,bass,Ada\nhigh/b.wav,,\n")
    found = look(store, [str(three_tracks.root)], manifest=listed)
    assert {row.file.path: (row.label, row.group) for row in found.catalogue.rows} == {
        "low/a.wav": ("bass", "Ada"),
        "high/b.wav": (None, None),
    }


def test_a_labels_file_may_label_more_than_a_manifest_names(
    store, three_tracks, manifest, tmp_path
):
    labels = tmp_path / "labels.jsonl"
    labels.write_text(
        '{"track path": "low/a.wav", "label": "bass", "group": "Ada"}\n'
        '{"track path": "not/here.wav", "label": "bass"}\n'
    )
    listed = manifest("path,id\nlow/a.wav,7\n")
    found = look(store, [str(three_tracks.root)], manifest=listed, labels=str(labels))
    (row,) = found.catalogue.rows
    assert (row.label, row.group, row.external_id) == ("bass", "Ada", "7")
    listed = manifest("path,label\nlow/a.wav,x\n")
    with pytest.raises(ManifestError, match=r"both the manifest .* and the labels file .* give"):
        look(store, [str(three_tracks.root)], manifest=listed, labels=str(labels))


def test_files_over_the_limit_are_failures_until_the_limit_is_raised(store, three_tracks):
    (three_tracks.root / "low" / "long.wav").write_bytes(bytes(1_000_001))
    roots = [str(three_tracks.root)]
    found = look(store, roots, max_file_mb=1)
    (failure,) = found.catalogue.failures
    assert (failure.code, failure.path) == ("over-limit", f"{three_tracks.root}/low/long.wav")
    record(store, found.catalogue)
    assert look(store, roots).counts["files"] == 4


# --- several catalogues as one ---


def catalogue_of(*places):
    """Give a catalogue of files at some places, a root and a path each, in their order."""
    files = [
        SourceFile(f"{number:032x}", root, path, path.encode(), 1, 2)
        for number, (root, path) in enumerate(sorted(places))
    ]
    failures = [TrackFailure("", f"{root}/-", "scan", "permission", "no") for root, _ in places]
    return Catalogue(map(CatalogueRow, files), failures)


@pytest.mark.parametrize("memory_rows", [0, 4, 100])
def test_catalogues_of_different_roots_are_one_sorted_by_root_and_path(memory_rows, monkeypatch):
    monkeypatch.setattr("storage.collected_rows.MEMORY_ROWS", memory_rows)
    monkeypatch.setattr("storage.collected_rows.BATCH_ROWS", 2)
    parts = [
        catalogue_of(("/m", "b"), ("/m", "a/x"), ("/m", "a-"), ("/é", "a")),
        catalogue_of(("/a", "z"), ("/m b", "a"), ("/z", "a"), ("/z", "b"), ("/z", "c")),
        catalogue_of(),
        catalogue_of(("/m-", "a"), ("/b", "a")),
    ]
    one = together(parts)
    every = [row for part in parts for row in part.rows]
    assert list(one.rows) == sorted(every, key=lambda row: (row.file.root, row.file.path_raw))
    failures = [failure for part in parts for failure in part.failures]
    assert one.failures == tuple(sorted(failures, key=lambda failure: failure.path))
