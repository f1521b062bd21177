"""A track that kills the process that reads it costs one row, and nothing else."""

import pytest

from flows import stages
from tasks.run_logs import show_log
from tasks.status import list_failures, store_status

pytestmark = pytest.mark.integration


def test_a_track_that_kills_its_worker_is_quarantined_alone(
    monkeypatch, with_deadly_track, run_night, tones, tiny_config, tmp_path
):
    store = tmp_path / "store"
    guilty = with_deadly_track(store, tones)

    night = run_night(tones, store, tiny_config)

    run = night.account["run"]
    assert [run[name] for name in ("seen", "done", "failed", "quarantined")] == [6, 5, 0, 1]
    assert night.flow_run.state.is_completed()
    (row,) = list_failures(str(store))
    assert (row["track_id"], row["code"]) == (guilty, "decoder-crashed")
    assert row["message"] == stages.DIED  # no address, no task name: equal in every run
    assert store_status(str(store))["counts"]["codes"] == 5
    warnings = show_log(str(store), level="warning")["lines"]
    assert [line["event"] for line in warnings][-2:] == ["worker-died", "track-failed"]
    assert warnings[-1]["track"] == guilty

    monkeypatch.undo()
    second = run_night(tones, store, tiny_config)
    assert second.said["extract"] == "nothing to decode, 5 tracks reused"
    assert second.account["run"]["quarantined"] == 1

    third = run_night(tones, store, tiny_config, retry_failed=True)
    run = third.account["run"]
    assert [run[name] for name in ("seen", "done", "reused", "quarantined")] == [6, 1, 5, 0]
    assert list_failures(str(store)) == []
