"""The nightly flow, end to end on real music: four nights on one store."""

import csv
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from flows.cluster_kinds import estimate_worker_bytes
from storage.schemas import FAILURES, PREDICTIONS, RUNS, TRACKS, codes_schema
from tasks.health_table import escape_markdown

pytestmark = pytest.mark.integration

EXPENSIVE = ("features", "encoded", "models")


def table(nights, name):
    (path,) = nights.status[-1]["tables"][name]
    return pq.read_table(path, page_checksum_verification=True)


def expensive(times):
    return {path: time for path, time in times.items() if path.split("/")[0] in EXPENSIVE}


# --- what the nights did ---


def test_every_night_accounts_for_every_track_it_saw(nights):
    numbers = [
        [
            outcome.account["run"][name]
            for name in ("seen", "done", "reused", "failed", "quarantined", "removed")
        ]
        for outcome in (nights.first, nights.second, nights.added, nights.removed)
    ]
    assert numbers == [
        [8, 7, 0, 1, 0, 0],
        [8, 0, 7, 1, 0, 0],
        [11, 3, 7, 1, 0, 0],
        [11, 0, 9, 1, 0, 1],
    ]
    assert all(row[0] == sum(row[1:]) for row in numbers)


def test_the_second_night_decodes_trains_and_encodes_nothing(nights):
    stages = nights.second.stages
    assert stages["extract"]["n_done"] == 0
    assert stages["extract"]["audio_s"] == 0
    assert stages["extract"]["n_reused"] == 7
    assert stages["train"]["n_done"] == 0
    assert stages["encode"]["n_done"] == 0
    first, second = (expensive(times) for times in nights.times[:2])
    assert first
    assert second == first


def test_stages_of_the_process_that_writes_count_their_cpu_time_too(nights):
    stages = nights.second.stages
    assert all(stages[name]["cpu_s"] > 0 for name in ("plan", "index", "report"))
    total = sum(one["cpu_s"] for one in stages.values())
    assert nights.second.account["run"]["cpu_s"] == pytest.approx(total)


def test_the_second_night_publishes_nothing_and_says_so(nights):
    assert nights.first.account["is_new_snapshot"]
    assert not nights.second.account["is_new_snapshot"]
    assert nights.second.account["snapshot"] == nights.first.account["snapshot"] == 1
    assert nights.status[1]["snapshots"] == [1]
    said = nights.second.said
    assert said["extract"] == "nothing to decode, 7 tracks reused"
    assert said["train"].startswith("nothing to train, model g-")
    assert re.fullmatch(r"nothing to encode, \d+ partitions reused", said["encode"])
    assert "unchanged, snapshot 1" in said["index"]


def test_three_added_files_are_three_tracks_processed(nights):
    stages = nights.added.stages
    assert stages["extract"]["n_done"] == 3
    assert stages["encode"]["n_done"] == 3
    assert stages["train"]["n_done"] == 0
    before, after = (expensive(times) for times in nights.times[1:3])
    assert {path: after[path] for path in before} == before


def test_a_removed_file_leaves_the_tables_and_nothing_is_computed(nights, sample):
    assert nights.removed.stages["extract"]["n_done"] == 0
    assert nights.removed.stages["encode"]["n_done"] == 0
    assert sample.removed not in table(nights, "tracks")["path"].to_pylist()
    assert nights.status[2]["counts"]["tracks"] - nights.status[3]["counts"]["tracks"] == 1


def test_a_night_without_work_starts_no_worker_and_takes_seconds(nights):
    assert nights.second.account["run"]["wall_s"] < 60
    assert nights.second.account["run"]["peak_memory_bytes"] == 0


def test_workers_stay_within_the_memory_that_is_stated_for_them(nights):
    peak = nights.first.account["run"]["peak_memory_bytes"]
    assert 0 < peak <= estimate_worker_bytes()


# --- what readers find ---


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("tracks", TRACKS),
        ("predictions", PREDICTIONS),
        ("codes", codes_schema(64)),
        ("failures", FAILURES),
        ("runs", RUNS),
    ],
)
def test_a_table_has_its_schema_with_the_meaning_of_every_column(nights, name, schema):
    found = table(nights, name).schema
    assert found.names == schema.names
    for column, wanted in zip(found, schema, strict=True):
        if not pa.types.is_timestamp(wanted.type):  # Parquet has no unit of a second
            assert column.equals(wanted)
        assert column.metadata[b"description"], column.name


@pytest.mark.parametrize("name", ["tracks", "predictions", "codes", "failures"])
def test_rows_are_sorted_by_track_and_a_track_has_one_row(nights, name):
    ids = table(nights, name)["track_id"].to_pylist()
    assert ids == sorted(set(ids))


def test_tables_and_index_hold_the_same_tracks(nights):
    tracks = table(nights, "tracks")
    usable = tracks.filter(pc.equal(tracks["status"], "ok"))["track_id"].to_pylist()
    assert table(nights, "codes")["track_id"].to_pylist() == usable
    assert table(nights, "predictions")["track_id"].to_pylist() == usable
    assert nights.status[-1]["index"]["n_codes"] == len(usable) == 9
    failed = tracks.filter(pc.equal(tracks["status"], "failed"))["track_id"].to_pylist()
    assert table(nights, "failures")["track_id"].to_pylist() == failed


def test_predictions_are_probabilities_of_the_labels(nights):
    for row in table(nights, "predictions").to_pylist():
        probabilities = dict(row["probabilities"])
        # The model saw the labels of the first night with two usable tracks; the rest is not its.
        assert set(probabilities) <= {"ambient", "electronic", "rock"}
        assert sum(probabilities.values()) == pytest.approx(1.0, abs=1e-5)
        assert probabilities[row["genre"]] == pytest.approx(row["probability"])
        assert row["probability"] == max(probabilities.values())


def test_a_code_is_the_signs_of_its_logits(nights):
    from musichash_core.codes import logits_to_codes

    codes = table(nights, "codes")
    for code, logits in zip(codes["code"], codes["logits"], strict=True):
        assert code.as_py() == logits_to_codes(logits.values.to_numpy()).tobytes()


def test_the_duplicate_is_one_track_in_two_places(nights, sample):
    wanted = {f"{nights.catalogue}/{path}" for path in sample.duplicates}
    rows = [row for row in table(nights, "tracks").to_pylist() if len(row["locations"]) > 1]
    assert [set(row["locations"]) for row in rows] == [wanted]


def test_the_damaged_file_is_one_failure_with_its_reason(nights, sample):
    (row,) = table(nights, "failures").to_pylist()
    assert row["path"] == f"{nights.catalogue}/{sample.damaged}"
    assert (row["stage"], row["code"], row["retryable"]) == ("extract", "truncated", False)
    assert row["attempts"] == 1
    tracks = {entry["track_id"]: entry for entry in table(nights, "tracks").to_pylist()}
    assert tracks[row["track_id"]]["status"] == "failed"
    assert tracks[row["track_id"]]["duration_s"] is None


def test_labels_are_the_folders(nights):
    for row in table(nights, "tracks").to_pylist():
        assert row["label"] == row["path"].split("/")[0]


def test_facts_of_the_tracks_are_those_of_the_sample(nights, sample):
    with (sample.music / "sample.csv").open(encoding="utf-8", newline="") as stream:
        facts = {row["path"]: row for row in csv.DictReader(stream)}
    for row in table(nights, "tracks").to_pylist():
        if row["status"] == "ok":
            known = facts[row["path"]]
            assert row["sr"] == int(known["sr"])
            assert row["n_channels"] == int(known["channels"])
            assert row["duration_s"] == pytest.approx(float(known["seconds"]), abs=0.01)


def test_the_runs_table_holds_every_run_with_its_end(nights):
    rows = table(nights, "runs").to_pylist()
    assert [row["state"] for row in rows] == ["done-with-failures"] * 4
    assert [row["done"] for row in rows] == [7, 0, 3, 0]
    assert all(row["finished"] >= row["started"] for row in rows)


def test_the_ledger_says_the_same_as_the_runs_table(nights):
    runs = nights.status[-1]["runs"]
    assert [run["run_id"] for run in runs] == table(nights, "runs")["run_id"].to_pylist()
    assert [run["snapshot"] for run in runs] == [1, 1, 2, 3]


def test_the_published_snapshots_verify(nights):
    from tasks.status import verify_store

    found = verify_store(str(nights.store))
    assert found["findings"] == []
    assert found["files"] > 10


def test_no_left_over_and_no_time_of_day_is_in_the_store(nights):
    names = [Path(path).name for path in nights.times[-1]]
    assert not [name for name in names if name.startswith(".tmp-")]
    assert not [name for name in names if name.startswith("training-frames")]


# --- what Prefect shows ---


def artifacts_of(outcome):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(
                flow_run_id=ArtifactFilterFlowRunId(any_=[outcome.flow_run.id])
            )
        )
    return {artifact.key: artifact for artifact in found}


def test_the_run_is_named_by_catalogue_and_date(nights):
    name = nights.first.flow_run.name
    assert re.fullmatch(r"nightly catalogue \d{4}-\d\d-\d\d", name)
    assert abs(datetime.now(UTC).date() - datetime.fromisoformat(name[-10:]).date()).days <= 1


def test_the_state_says_what_was_done(nights):
    assert nights.first.flow_run.state.is_completed()
    assert nights.first.flow_run.state.message == nights.first.account["sentence"]
    assert nights.first.account["sentence"] == (
        "7 done, 0 reused, 1 failed, 0 quarantined, 0 removed of 8 seen; snapshot 1"
    )


def test_progress_of_the_stages_is_shown_and_ends_at_the_whole(nights):
    artifacts = artifacts_of(nights.first)
    for key in ("scan-progress", "extract-progress", "encode-progress"):
        assert artifacts[key].type == "progress"
        assert float(artifacts[key].data) == 100.0, key
    assert "8 of 8 tracks done, 1 failed" in artifacts["extract-progress"].description
    assert "extract-progress" not in artifacts_of(nights.second)


def test_the_health_of_the_codes_is_shown(nights):
    health = artifacts_of(nights.first)["code-health"]
    assert health.type == "markdown"
    assert health.description == "Code health of snapshot 1: ok"
    assert health.data.startswith("# Code health: ok\n")
    assert "| canaries | 7 | 7 |" in health.data
    assert nights.first.account["health"]["level"] == "ok"


def test_the_summary_table_has_a_row_per_stage(nights):
    summary = artifacts_of(nights.first)["run-summary"]
    assert summary.type == "table"
    assert summary.description == (
        "7 processed, 1 failed of 8 tracks; 8 seen = 7 done + 0 reused + 1 failed + 0 quarantined "
        "+ 0 removed; snapshot 1"
    )
    rows = json.loads(summary.data)
    assert [row["stage"] for row in rows] == [
        "plan",
        "extract",
        "train",
        "encode",
        "index",
        "report",
    ]
    assert next(row for row in rows if row["stage"] == "extract")["done"] == 7


def test_a_night_that_trains_leaves_its_learning_curves_in_the_ui(nights):
    curves = artifacts_of(nights.first)["learning-curves"]
    assert curves.type == "markdown"
    assert "| genre | 2 |" in curves.data
    assert "| hash | 2 |" in curves.data
    assert "](data:image/png;base64," in curves.data
    assert "learning-curves" not in artifacts_of(nights.second)


def test_the_morning_report_names_failures_and_remedies(nights):
    text = artifacts_of(nights.first)["morning-report"].data
    assert text.startswith("# 7 processed, 1 failed of 8 tracks\n")
    assert "8 seen = 7 done + 0 reused + 1 failed + 0 quarantined + 0 removed" in text
    assert "Snapshot 1 is published. The HTML report is the file " in text
    assert f"| truncated | 1 | {escape_markdown(str(nights.catalogue))}/electronic/" in text
    assert "| Fetch the file again" in text
    assert f"musichash failures --store {nights.store}" in text
    assert artifacts_of(nights.second)["morning-report"].data.startswith(
        "# nothing to decode, 7 reused, 1 failed of 8 tracks\n"
    )


def test_the_run_is_tagged_with_its_kind_catalogue_and_store(nights):
    assert set(nights.first.flow_run.tags) == {
        *("musichash", "nightly", "catalogue:catalogue", "store:store")
    }


def test_each_stage_is_one_task_run(nights):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[nights.first.flow_run.id]))
        )
    names = sorted(re.sub(r"-[^-]*$", "", run.name) for run in runs)
    assert names == ["encode", "extract", "index", "plan", "report", "scan", "train"]
    assert all(run.state.is_completed() for run in runs)
