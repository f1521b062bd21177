"""Backfills on disk: begun, gone on with, ended, and which are open."""

import json
from dataclasses import replace

import pyarrow as pa
import pytest

from storage.backfills import (
    PLAN,
    BackfillState,
    Session,
    begin_backfill,
    drop_backfill,
    end_backfill,
    open_backfills,
    read_backfill,
    read_backfills,
    read_plan,
    write_state,
)
from storage.errors import ArtefactMissingError, DamagedArtefactError, FormatVersionError

MODEL = BackfillState(
    name="model-g-1",
    kind="model",
    target="g-1",
    steps=("describe", "encode"),
    feature_fingerprint="f" * 12,
    begun="2026-01-02T00:00:00+00:00",
    generation="g-1",
)
RADIO = BackfillState(
    name="collection-radio",
    kind="collection",
    target="radio",
    steps=("extract", "describe", "encode"),
    feature_fingerprint="e" * 12,
    begun="2026-01-01T00:00:00+00:00",
    generation="g-0",
    settings={"root": "/mnt/radio", "labels": None, "manifest": None},
    sessions=(Session("2026-01-01T00:00:00+00:00", 12.5, 3.0, {"extract": {"n_done": 2}}),),
)
PLANNED = [
    {
        "collection": "radio",
        "partition_id": "ab" * 8,
        "track_id": "0" * 32,
        "root": "/mnt/radio",
        "path": "caf\\xe9.ogg",
        "path_raw": b"caf\xe9.ogg",
        "n_bytes": 10,
        "mtime_ns": 2**62,
        "attempts": 1,
        "audio_s": 3.5,
    }
]
TABLE = pa.Table.from_pylist(PLANNED, schema=PLAN)


def test_a_begun_backfill_comes_back_with_its_plan(layout):
    begin_backfill(layout, RADIO, TABLE)
    assert read_backfill(layout, "collection-radio") == RADIO
    plan = read_plan(layout, "collection-radio")
    assert plan.schema.equals(PLAN)
    assert plan.to_pylist() == PLANNED


def test_a_plan_without_a_state_is_no_backfill_yet(layout):
    begin_backfill(layout, RADIO, TABLE)
    (layout.backfill_path(RADIO.name) / "state.json").unlink()
    assert read_backfill(layout, RADIO.name) is None
    assert read_backfills(layout) == []


def test_open_backfills_come_in_the_order_of_their_beginning(layout):
    assert open_backfills(layout) == []
    begin_backfill(layout, MODEL, TABLE)
    begin_backfill(layout, RADIO, TABLE)
    assert [state.name for state in open_backfills(layout)] == [RADIO.name, MODEL.name]


def test_an_ended_backfill_keeps_its_account_and_drops_its_plan(layout):
    begin_backfill(layout, RADIO, TABLE)
    begin_backfill(layout, MODEL, TABLE)
    ended = end_backfill(layout, RADIO, ended="2026-01-03T00:00:00+00:00")
    assert open_backfills(layout) == [MODEL]
    assert read_backfill(layout, RADIO.name) == ended
    assert ended == replace(RADIO, ended="2026-01-03T00:00:00+00:00")
    with pytest.raises(ArtefactMissingError):
        read_plan(layout, RADIO.name)


def test_a_dropped_backfill_is_gone(layout):
    begin_backfill(layout, RADIO, TABLE)
    drop_backfill(layout, RADIO.name)
    assert read_backfills(layout) == []
    assert not layout.backfill_path(RADIO.name).exists()


def test_a_new_state_replaces_the_one_before(layout):
    begin_backfill(layout, RADIO, TABLE)
    more = replace(RADIO, sessions=(*RADIO.sessions, Session("2026-01-02T00:00:00+00:00")))
    write_state(layout, more)
    assert read_backfill(layout, RADIO.name) == more
    assert read_plan(layout, RADIO.name).num_rows == 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"format": 2}, FormatVersionError),
        ({"sessions": [{"begun": "never"}]}, DamagedArtefactError),
        ({"colour": "blue"}, DamagedArtefactError),
    ],
)
def test_a_state_that_is_none_is_refused(layout, change, error):
    begin_backfill(layout, RADIO, TABLE)
    path = layout.backfill_path(RADIO.name) / "state.json"
    content = json.loads(path.read_text(encoding="utf-8")) | change
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(error, match=r"state\.json"):
        read_backfill(layout, RADIO.name)
