"""What all partitions together have: each track once, failures until they succeed."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from storage.errors import DamagedArtefactError
from storage.extracted import extracted_ranges, read_extracted
from storage.feature_store import FeaturePartition, FeaturePartitionWriter
from storage.schemas import FAILURES, TRACK_FACTS


@pytest.fixture
def write(layout, helpers):
    def write(partition_id, done=(), failures=()):
        helpers.write_partition(
            layout.feature_partition_path(helpers.features, partition_id),
            {number: helpers.random_frames(40, number) for number in done},
            failures,
        )

    return write


def test_a_store_without_partitions_has_nothing(layout, helpers):
    extracted = read_extracted(layout, helpers.features)
    assert extracted.done_ids == set()
    assert (len(extracted.facts), len(extracted.failures)) == (0, 0)
    assert extracted.failures.schema.equals(FAILURES)


def test_tracks_of_all_partitions_are_sorted_and_know_theirs(layout, helpers, write):
    write("b", done=[5, 1])
    write("a", done=[3])
    extracted = read_extracted(layout, helpers.features)
    columns = extracted.facts.select(["track_id", "partition_id"]).to_pylist()
    assert columns == [
        {"track_id": helpers.track_id(1), "partition_id": "b"},
        {"track_id": helpers.track_id(3), "partition_id": "a"},
        {"track_id": helpers.track_id(5), "partition_id": "b"},
    ]
    assert extracted.done_ids == {helpers.track_id(n) for n in (1, 3, 5)}


def test_a_track_in_several_partitions_is_taken_from_the_first(layout, helpers, write):
    write("c", done=[1, 2])
    write("a", done=[2, 9])
    write("b", done=[2])
    facts = read_extracted(layout, helpers.features).facts.to_pylist()
    assert [(row["track_id"][-1], row["partition_id"]) for row in facts] == [
        ("1", "c"),
        ("2", "a"),
        ("9", "a"),
    ]


def test_of_repeated_failures_the_last_attempt_stands(layout, helpers, write):
    write("a", failures=[helpers.failure_of(1, code="timeout", attempts=1)])
    write("b", failures=[helpers.failure_of(1, code="damaged", attempts=3)])
    write("c", failures=[helpers.failure_of(1, code="memory", attempts=2)])
    (row,) = read_extracted(layout, helpers.features).failures.to_pylist()
    assert (row["code"], row["attempts"]) == ("damaged", 3)


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_a_track_that_succeeds_later_is_no_failure(layout, helpers, write, order):
    write(order[0], done=[7], failures=[helpers.failure_of(1)])
    write(order[1], done=[1])
    extracted = read_extracted(layout, helpers.features)
    assert len(extracted.failures) == 0
    assert extracted.done_ids == {helpers.track_id(1), helpers.track_id(7)}


def test_other_configurations_and_unfinished_folders_do_not_count(layout, helpers, write):
    write("a", done=[1])
    helpers.write_partition(
        layout.feature_partition_path("0" * 12, "a"), {2: helpers.random_frames(10)}
    )
    unfinished = layout.feature_partition_path(helpers.features, "half")
    unfinished.mkdir()
    (unfinished / "tracks.parquet").touch()
    assert read_extracted(layout, helpers.features).done_ids == {helpers.track_id(1)}


def test_a_damaged_partition_stops_the_reading_and_is_named(layout, helpers, write):
    write("a", done=[1])
    folder = layout.feature_partition_path(helpers.features, "a")
    (folder / "tracks.parquet").unlink()
    with pytest.raises(DamagedArtefactError, match=r"a/tracks\.parquet is missing"):
        read_extracted(layout, helpers.features)


def test_partitions_with_and_without_tagger_frames_are_one_table(layout, helpers, write):
    write("a", done=[1])
    folder = layout.feature_partition_path(helpers.features, "b")
    with FeaturePartitionWriter(
        folder, fingerprint=helpers.features, n_mels=helpers.n_mels, with_tagger_mel=True
    ) as writer:
        writer.append_frames(helpers.random_frames(40, 2))
        writer.append_tagger_frames(np.zeros((58, 96), np.uint8))
        track = helpers.stored_track(2, 0, 40)
        writer.finish_track(replace(track, first_tagger_frame=0, n_tagger_frames=58))
    facts = read_extracted(layout, helpers.features).facts
    assert facts.drop_columns("partition_id").schema.equals(TRACK_FACTS)
    assert facts["n_tagger_frames"].to_pylist() == [None, 58]


@pytest.fixture
def opened(monkeypatch):
    """Names the partitions whose tables are opened."""
    names = []
    facts, failures = FeaturePartition.facts, FeaturePartition.failures

    def noting(read):
        def noted(partition):
            names.append(partition.folder.name)
            return read(partition)

        return noted

    monkeypatch.setattr(FeaturePartition, "facts", noting(facts))
    monkeypatch.setattr(FeaturePartition, "failures", noting(failures))
    return names


def as_rows(extracted):
    return extracted.facts.to_pylist(), extracted.failures.to_pylist()


def test_what_was_kept_is_not_opened_again_and_gives_the_same(layout, helpers, write, opened):
    write("b", done=[5, 1], failures=[helpers.failure_of(7)])
    write("a", done=[1, 3])
    first = read_extracted(layout, helpers.features, keep=True)
    opened.clear()
    assert as_rows(read_extracted(layout, helpers.features)) == as_rows(first)
    assert opened == []
    write("0", done=[7, 3])
    second = read_extracted(layout, helpers.features, keep=True)
    assert opened == ["0"]
    assert [row["partition_id"] for row in second.facts.to_pylist()] == ["a", "0", "b", "0"]
    assert len(second.failures) == 0


@pytest.mark.parametrize("is_kept", [False, True])
def test_only_the_columns_asked_for_are_read(layout, helpers, write, is_kept):
    write("b", done=[5, 1], failures=[helpers.failure_of(2)])
    write("a", done=[3, 5])
    every = read_extracted(layout, helpers.features, keep=is_kept)
    with extracted_ranges(layout, helpers.features, n_ranges=2, columns=["duration_s"]) as ranges:
        parts = [ranges.of_range(number) for number in range(2)]
    names = ["track_id", "duration_s", "partition_id"]
    assert all(part.facts.column_names == names for part in parts)
    assert [row for part in parts for row in part.facts.to_pylist()] == (
        every.facts.select(names).to_pylist()
    )
    failures = [row for part in parts for row in part.failures.to_pylist()]
    assert failures == every.failures.to_pylist() != []


def test_what_was_kept_of_changed_or_removed_partitions_is_not_used(layout, helpers, write, opened):
    write("a", done=[1])
    write("b", done=[2])
    read_extracted(layout, helpers.features, keep=True)
    for name in ("a", "b"):
        shutil.rmtree(layout.feature_partition_path(helpers.features, name))
    write("a", done=[1, 4])
    opened.clear()
    assert read_extracted(layout, helpers.features).done_ids == {
        helpers.track_id(1),
        helpers.track_id(4),
    }
    assert opened == ["a"]


@pytest.mark.parametrize("name", ["facts", "failures"])
@pytest.mark.parametrize("content", [b"", b"no table", None])
def test_what_was_kept_and_is_damaged_is_read_anew(layout, helpers, write, name, content):
    write("a", done=[1], failures=[helpers.failure_of(2)])
    first = read_extracted(layout, helpers.features, keep=True)
    kept = layout.work_root / f"{name}-{helpers.features}.parquet"
    kept.unlink()
    if content is not None:
        kept.write_bytes(content)
    assert as_rows(read_extracted(layout, helpers.features)) == as_rows(first)


def test_reading_alone_keeps_nothing(layout, helpers, write):
    write("a", done=[1])
    before = sorted(layout.root.rglob("*"))
    read_extracted(layout, helpers.features)
    assert sorted(layout.root.rglob("*")) == before


@pytest.mark.parametrize("of_before", ["facts", "failures"])
def test_two_tables_that_were_not_kept_together_are_not_used(
    layout, helpers, write, opened, of_before
):
    """A run that is killed between the two leaves one of this night and one of the last."""
    kept = {
        "facts": layout.facts_cache_path(helpers.features),
        "failures": layout.failures_cache_path(helpers.features),
    }
    write("a", done=[1], failures=[helpers.failure_of(2), helpers.failure_of(3)])
    read_extracted(layout, helpers.features, keep=True)
    old = kept[of_before].read_bytes()
    write("b", done=[2], failures=[helpers.failure_of(4)])
    now = read_extracted(layout, helpers.features, keep=True)
    assert kept[of_before].read_bytes() != old
    kept[of_before].write_bytes(old)
    opened.clear()
    assert as_rows(read_extracted(layout, helpers.features, keep=True)) == as_rows(now)
    assert set(opened) == {"a", "b"}
    opened.clear()
    assert as_rows(read_extracted(layout, helpers.features)) == as_rows(now)
    assert opened == []


def test_rows_are_those_of_the_preferred_partitions_picked_one_by_one(layout, helpers, write):
    rng = np.random.default_rng(0)
    holds = {name: rng.choice(12, 5, replace=False).tolist() for name in "abcd"}
    for name, numbers in holds.items():
        write(name, done=numbers)
    extracted = read_extracted(layout, helpers.features)
    for bits in range(16):
        preferred = {name for at, name in enumerate("abcd") if bits >> at & 1}
        expected = []
        for number in range(12):
            names = sorted(name for name, numbers in holds.items() if number in numbers)
            better = [name for name in names if name in preferred] or names
            expected += [(helpers.track_id(number), better[0])] if names else []
        table = extracted.facts_in(preferred)
        columns = (table[name].to_pylist() for name in ("track_id", "partition_id"))
        assert list(zip(*columns, strict=True)) == expected
        assert table.schema.equals(extracted.facts.schema)
    assert extracted.facts_in(holds).equals(extracted.facts)
