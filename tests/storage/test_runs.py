"""The ledger: a record per run, and the ones that were killed stay visible."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from storage.errors import DamagedArtefactError
from storage.runs import (
    RunRecord,
    UnknownRunError,
    close_killed_runs,
    find_run,
    finish_run,
    keep_run,
    read_runs,
    run_rows,
    start_run,
)
from storage.schemas import RUNS
from storage.tables import read_part, write_rows


def test_a_store_without_runs_has_an_empty_ledger(layout):
    assert read_runs(layout) == []


def test_a_run_is_in_the_ledger_from_its_start(layout):
    before = datetime.now(UTC) - timedelta(seconds=1)
    run = start_run(layout)
    assert read_runs(layout) == [run]
    assert (run.state, run.finished) == ("running", None)
    assert before <= datetime.fromisoformat(run.started) <= datetime.now(UTC)


def test_a_finished_run_keeps_its_numbers(layout):
    run = replace(start_run(layout), seen=3, done=2, failed=1, snapshot=7)
    closed = finish_run(layout, run, state="done-with-failures")
    assert read_runs(layout) == [closed]
    assert (closed.seen, closed.done, closed.failed, closed.snapshot) == (3, 2, 1, 7)
    assert closed.state == "done-with-failures"
    assert closed.finished is not None
    assert closed.wall_s >= 0


def test_a_clock_set_back_gives_no_negative_time(layout):
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds")
    run = replace(start_run(layout), started=tomorrow)
    assert finish_run(layout, run, state="done").wall_s == 0


def test_runs_are_listed_oldest_first(layout, monkeypatch):
    for number, start in enumerate(
        ["2026-01-31T23:59:59+00:00", "2026-02-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00"]
    ):
        monkeypatch.setattr("storage.runs._now", lambda start=start: start)
        assert start_run(layout).run_id.startswith(("20260131T", "20260201T", "20270101T")[number])
    assert [run.started[:4] for run in read_runs(layout)] == ["2026", "2026", "2027"]
    assert [run.started[5:7] for run in read_runs(layout)] == ["01", "02", "01"]


def test_runs_started_in_one_second_are_two(layout):
    assert len({start_run(layout).run_id for _ in range(20)}) == 20
    assert len(read_runs(layout)) == 20


def test_names_of_runs_sort_also_when_the_clock_is_set_back(layout, monkeypatch):
    times = ["2026-03-02T02:00:00", "2026-03-01T02:00:00", "2026-03-01T02:00:00"]
    times += ["2026-03-02T01:59:59", "2026-03-02T02:00:00", "2026-03-02T02:00:01"]
    begun = []
    for at in times:
        monkeypatch.setattr("storage.runs._now", lambda at=at: f"{at}+00:00")
        begun.append(start_run(layout))
    assert [run.run_id for run in begun] == [
        *(f"20260302T020000Z-00000{count}" for count in range(5)),
        "20260302T020001Z-000000",
    ]
    assert read_runs(layout) == begun
    assert [run.started[:19] for run in begun] == times


def test_names_go_on_behind_those_of_earlier_versions_and_behind_a_full_second(layout, monkeypatch):
    monkeypatch.setattr("storage.runs._now", lambda: "2026-12-31T23:59:59+00:00")
    for taken, following in [
        ("20261231T235959Z-9f3a2c", "20261231T235959Z-9f3a2d"),
        ("20261231T235959Z-ffffff", "20270101T000000Z-000000"),
    ]:
        keep_run(layout, RunRecord(taken, "2026-12-31T23:59:59+00:00"))
        assert start_run(layout).run_id == following


def test_a_name_that_another_run_took_meanwhile_is_not_used_again(layout, monkeypatch):
    monkeypatch.setattr("storage.runs._now", lambda: "2026-01-01T00:00:00+00:00")
    first = start_run(layout)
    seen = iter([[], [first.run_id]])  # it looks just before the other one begins, and again
    monkeypatch.setattr("storage.runs._run_ids", lambda _: next(seen))
    second = start_run(layout)
    monkeypatch.undo()
    assert second.run_id == "20260101T000000Z-000001"
    assert read_runs(layout) == [first, second]


def test_killed_runs_are_closed_with_what_is_known_and_others_left_alone(layout):
    at = "2026-01-01T00:00:00+00:00"
    known = replace(start_run(layout), started=at, audio_s=9.0, stages={"extract": {"n_done": 3}})
    keep_run(layout, known)
    unknown = start_run(layout)
    done = finish_run(layout, start_run(layout), state="done")
    closed = close_killed_runs(layout, last_signs={known.run_id: "2026-01-01T00:01:30+00:00"})
    assert closed == [
        replace(known, state="killed", finished="2026-01-01T00:01:30+00:00", wall_s=90.0),
        replace(unknown, state="killed"),
    ]
    assert read_runs(layout) == [*closed, done]
    assert close_killed_runs(layout) == []


def test_a_run_is_found_by_how_its_id_begins(layout, monkeypatch):
    for at in ("2026-03-01T02:00:00", "2026-03-02T02:00:00", "2026-03-02T02:00:00"):
        monkeypatch.setattr("storage.runs._now", lambda at=at: f"{at}+00:00")
        start_run(layout)
    first, second, third = read_runs(layout)
    assert find_run(layout, "20260301") == first
    assert find_run(layout, second.run_id) == second
    with pytest.raises(UnknownRunError, match=rf"2 runs begin with '20260302'.*{third.run_id}"):
        find_run(layout, "20260302")
    with pytest.raises(UnknownRunError, match=rf"there is no run '\*'.*latest are: {first.run_id}"):
        find_run(layout, "*")


@pytest.mark.parametrize(
    ("numbers", "is_balanced"),
    [
        ({}, True),
        ({"seen": 15, "done": 1, "reused": 2, "failed": 3, "quarantined": 4, "removed": 5}, True),
        ({"seen": 2, "done": 1}, False),
        ({"seen": 1, "done": 1, "removed": 1}, False),
    ],
)
def test_every_track_seen_must_be_accounted_for(numbers, is_balanced):
    assert RunRecord("r", "2026-01-01T00:00:00+00:00", **numbers).is_balanced == is_balanced


def test_rows_fit_the_runs_table(layout, tmp_path):
    finish_run(layout, replace(start_run(layout), audio_s=12.5), state="done")
    killed = start_run(layout)
    rows = run_rows(read_runs(layout))
    write_rows(tmp_path / "runs.parquet", rows, RUNS)
    read = {row["run_id"]: row for row in read_part(tmp_path / "runs.parquet", RUNS).to_pylist()}
    assert list(read.values()) == rows
    assert read[killed.run_id]["finished"] is None
    assert read[killed.run_id]["started"] == datetime.fromisoformat(killed.started)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"run_id": "r", "started": "x", "new": 1}'])
def test_a_damaged_record_is_refused_with_what_to_do(layout, content):
    run = start_run(layout)
    layout.run_path(run.run_id).write_text(content)
    with pytest.raises(
        DamagedArtefactError, match=f"{run.run_id}.json is not a run record.*remove"
    ):
        read_runs(layout)


def test_left_overs_of_killed_writers_are_no_records(layout):
    run = start_run(layout)
    (layout.runs_root / f".tmp-{run.run_id}.json-1234").write_text("{")
    assert read_runs(layout) == [run]
    assert json.loads(layout.run_path(run.run_id).read_text())["state"] == "running"
