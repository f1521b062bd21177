"""Searching a published store: by track, by file, and every way to name a track."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from musichash_core.codes import hamming_distance
from musichash_core.errors import ParameterError
from storage.errors import ArtefactMissingError
from storage.published import table_paths
from storage.runs import start_run
from storage.snapshots import current_snapshot
from storage.store import open_store
from tasks.index import publish
from tasks.scan import look, record
from tasks.search import UnknownTrackError, search_file, search_track
from tasks.search_files import QueryFileError, encode_file

HZ = (220, 330, 440, 880, 1760)


@pytest.fixture
def published(publish_all, catalogue):
    """Five tones; one of them lies in two places."""
    for hz in HZ:
        catalogue.add(f"low/{hz}.wav", hz)
    (catalogue.root / "also").mkdir()
    shutil.copy(catalogue.root / "low/880.wav", catalogue.root / "also/copy.wav")
    return publish_all(catalogue.root)


def codes_of(published):
    layout = open_store(published.store)
    (path,) = table_paths(layout, current_snapshot(layout), "codes")
    table = pq.read_table(path)
    return {
        track_id: np.frombuffer(code, np.uint8)
        for track_id, code in zip(
            table["track_id"].to_pylist(), table["code"].to_pylist(), strict=True
        )
    }


def test_neighbours_are_those_of_brute_force_without_the_track_itself(published):
    codes = codes_of(published)
    answer = search_track(published.store, "low/440.wav", k=10)
    (asked,) = codes.keys() - {match.track_id for match in answer.matches}
    assert [match.distance for match in answer.matches] == sorted(
        int(hamming_distance(codes[asked], code))
        for track_id, code in codes.items()
        if track_id != asked
    )
    assert [match.rank for match in answer.matches] == [1, 2, 3, 4]
    assert (answer.n_codes, answer.n_bits, answer.snapshot) == (5, 32, 1)
    assert all(match.path != f"{published.root}/low/440.wav" for match in answer.matches)


def test_a_file_of_the_same_bytes_is_found_at_distance_0(published, config, tmp_path):
    shutil.copy(published.root / "low/330.wav", tmp_path / "unknown")
    answer = search_file(published.store, str(tmp_path / "unknown"), config, k=5)
    at_0 = [match.path for match in answer.matches if match.distance == 0]
    assert f"{published.root}/low/330.wav" in at_0  # others may have the same code
    assert len(search_file(published.store, str(tmp_path / "unknown"), config, k=2).matches) == 2


def test_a_track_has_many_names(published, monkeypatch):
    root = published.root
    track_id = search_file_id(published, "low/880.wav")
    monkeypatch.chdir(root)
    names = [
        "low/880.wav",  # below the catalogue root, also of the second place
        "also/copy.wav",
        f"{root}/low/880.wav",
        f"{root}/also/copy.wav",
        "./low/880.wav",  # below the working folder
        track_id,
        track_id[:8],
    ]
    answers = {name: search_track(published.store, name, k=2).matches for name in names}
    assert len(set(answers.values())) == 1


def search_file_id(published, path):
    """Find a track's id through the tables."""
    layout = open_store(published.store)
    (table,) = table_paths(layout, current_snapshot(layout), "tracks")
    rows = pq.read_table(table).to_pylist()
    return next(row["track_id"] for row in rows if f"{published.root}/{path}" in row["locations"])


def test_a_path_below_two_roots_must_be_told_apart(publish_all, catalogue, tmp_path, config, store):
    catalogue.add("one/low/a.wav", 220)
    catalogue.add("two/low/a.wav", 880)
    published = publish_all(catalogue.root)
    # The same store again, scanned as two roots: what a user with two disks has.
    roots = [str(catalogue.root / "one"), str(catalogue.root / "two")]
    record(store, look(store, roots).catalogue)
    publish(store, config, start_run(open_store(store)), n_done=0, n_reused=2)
    with pytest.raises(
        UnknownTrackError, match=r"2 published tracks have the id or path 'low/a\.w"
    ):
        search_track(published.store, "low/a.wav")
    answer = search_track(published.store, f"{roots[1]}/low/a.wav")
    assert [match.path for match in answer.matches] == [f"{roots[0]}/low/a.wav"]


@pytest.mark.parametrize("name", ["low/881.wav", "LOW/880.WAV", "880.wav", "zz", ""])
def test_an_unknown_name_gets_the_nearest_path(published, name):
    with pytest.raises(UnknownTrackError, match=r"no published track .* the nearest path is '"):
        search_track(published.store, name)


def test_the_nearest_path_is_near(published):
    with pytest.raises(UnknownTrackError, match=r"nearest path is 'low/1760\.wav'"):
        search_track(published.store, "low/1761.wav")


@pytest.mark.parametrize("k", [0, -5, 10_001])
def test_k_out_of_range_is_refused_before_anything_is_read(published, config, k):
    with pytest.raises(ParameterError, match=f"k={k}: ask for 1 to 10000"):
        search_track("nowhere", "x", k=k)
    with pytest.raises(ParameterError, match=f"k={k}"):
        search_file("nowhere", "x", config, k=k)


def test_more_answers_than_tracks_are_all_tracks(published, config):
    assert len(search_track(published.store, "low/220.wav", k=10_000).matches) == 4
    path = str(published.root / "low/220.wav")
    assert len(search_file(published.store, path, config, k=10_000).matches) == 5


def test_a_failed_track_cannot_be_asked_for(publish_all, catalogue, config, tmp_path):
    for hz in HZ:
        catalogue.add(f"low/{hz}.wav", hz)
    catalogue.add_text("low/bad.wav")
    published = publish_all(catalogue.root)
    with pytest.raises(UnknownTrackError, match="has no code because it failed"):
        search_track(published.store, "low/bad.wav")


def test_a_file_that_cannot_be_used_says_why_and_what_to_do(published, config, tmp_path):
    with pytest.raises(QueryFileError, match="does not exist; check --file"):
        search_file(published.store, str(tmp_path / "none.wav"), config)
    (tmp_path / "text.wav").write_text("words")
    with pytest.raises(QueryFileError, match=r"is not-audio: .*Look at the file") as raised:
        search_file(published.store, str(tmp_path / "text.wav"), config)
    assert raised.value.is_wrong_input
    with pytest.raises(QueryFileError, match="not-a-regular-file"):
        search_file(published.store, str(tmp_path), config)


TOLD_AT_ONCE = """
import sys
from tasks.search import search_file
from tasks.search_files import QueryFileError
try:
    search_file(sys.argv[1], sys.argv[2], None)
except QueryFileError as error:
    sys.exit("torch was loaded" if "torch" in sys.modules else f"only said: {error}")
"""


def test_a_file_that_cannot_be_used_is_told_before_torch_is_loaded(published, tmp_path):
    command = [sys.executable, "-c", TOLD_AT_ONCE, published.store, str(tmp_path / "none.wav")]
    spoken = subprocess.run(command, capture_output=True, text=True, check=False)
    assert spoken.stderr.startswith("only said: the file "), spoken.stderr


def test_a_link_to_a_file_may_be_asked_about(published, config, tmp_path):
    (tmp_path / "link.wav").symlink_to(published.root / "low/220.wav")
    answer = search_file(published.store, str(tmp_path / "link.wav"), config, k=1)
    assert answer.matches[0].distance == 0


def test_no_store_and_no_snapshot_are_told_apart(store, config, tmp_path):
    with pytest.raises(ArtefactMissingError, match="is not a musichash store"):
        search_track(str(tmp_path / "none"), "x")
    with pytest.raises(ArtefactMissingError, match="has published nothing yet"):
        search_track(store, "x")


def test_the_answer_is_plain_json(published):
    answer = search_track(published.store, "low/220.wav", k=1).as_dict()
    assert json.loads(json.dumps(answer)) == answer | {"matches": list(answer["matches"])}


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_with_the_default_encoder_a_file_gets_the_code_of_the_same_track(
    publish_described, catalogue, described_config, sounds, suffix
):
    for path, hz in (("high/a", 1760), ("high/b", 1600), ("low/a", 220), ("low/b", 240)):
        catalogue.add(f"{path}.wav", hz, sr=44_100 if hz == 220 else 22_050)
    published = publish_described(catalogue.root)
    y, sr = soundfile.read(catalogue.root / "low/a.wav", dtype="int16")
    query = catalogue.root / f"query.{suffix}"
    soundfile.write(query, y, sr)
    encoded = encode_file(
        published.store, str(query), described_config, generation=published.generation
    )
    layout = open_store(published.store)
    (table,) = table_paths(layout, current_snapshot(layout), "codes")
    rows = pq.read_table(table).to_pylist()
    asked = search_file_id(published, "low/a.wav")
    (logits,) = (row["logits"] for row in rows if row["track_id"] == asked)
    np.testing.assert_array_equal(np.float32(logits), encoded.hash_logits)
    answer = search_file(published.store, str(query), described_config, k=1)
    assert answer.matches[0].distance == 0
