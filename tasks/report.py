"""Stage 8, report: one self-contained HTML page about the current snapshot, for the morning.

The page needs nothing from elsewhere: styles and pictures are inside, scripts are not there.

Public: `write_report`.
"""

from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from musichash_core.code_health import measure_codes
from musichash_core.config import PipelineConfig
from storage.atomic import write_file
from storage.code_health import read_health
from storage.errors import StoreError
from storage.generations import read_model_card
from storage.indexes import HashIndex, read_index_info
from storage.layout import StoreLayout
from storage.published import read_table, require_snapshot
from storage.robustness_figures import read_robustness
from storage.runs import RunRecord, read_runs
from storage.snapshots import Snapshot, read_snapshot
from storage.store import open_store
from tasks.default_model import is_default_model
from tasks.health_answers import snapshot_health
from tasks.health_table import health_rows
from tasks.html_page import fill_template
from tasks.report_codes import CodedTracks, neighbourhoods, pair_rows, separation
from tasks.report_facts import TOP_ROWS, failure_facts, run_facts
from tasks.report_rows import gather, logits_of_row, published_among, track_details, track_row
from tasks.report_track import shown_track
from tasks.report_training import training_facts

if TYPE_CHECKING:  # importing it loads Matplotlib
    from tasks.report_drawing import Picture

TEMPLATE = "report.html.j2"


def write_report(
    store: str,
    config: PipelineConfig,
    path: str | None = None,
    *,
    record: RunRecord | None = None,
) -> Path:
    """Describe the current snapshot and the last runs in one HTML file.

    Parameters
    ----------
    config : PipelineConfig
        Settings of the store; others cost the spectrogram its seconds and hertz.
    path : str, optional
        Where to write; by default ``report.html`` in the store.
    record : RunRecord, optional
        The run that the report is the last step of, with its account; the ledger does not have it
        before the run has ended.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ArtefactMissingError
        If the store has published nothing, or something published is missing.
    StoreError
        If the page cannot be written.
    """
    layout = open_store(store)
    snapshot = require_snapshot(layout)
    target = layout.report_path if path is None else Path(path).absolute()
    page = fill_template(TEMPLATE, _gather(layout, snapshot, config, record))
    try:
        write_file(target, page.encode("utf-8"))
    except OSError as error:
        raise StoreError(
            f"the report cannot be written to {target}: {error.strerror}; name another file with "
            "--output"
        ) from error
    return target


def _gather(
    layout: StoreLayout, snapshot: Snapshot, config: PipelineConfig, record: RunRecord | None
) -> dict[str, Any]:
    """Collect everything that the template names."""
    training = training_facts(read_model_card(layout, snapshot.generation))
    held_out_ids = training.summary.validation_track_ids if training else ()
    catalogue, coded = gather(layout, snapshot, held_out_ids)
    published_runs = _published_runs(snapshot, read_table(layout, snapshot, "runs"))
    facts = {
        "store": str(layout.root),
        "snapshot": snapshot,
        "version": version("musichash"),
        "written": datetime.now(UTC).isoformat(),
        "runs": run_facts(read_runs(layout), published_runs, record),
        "catalogue": catalogue,
        "failures": failure_facts(read_table(layout, snapshot, "failures")),
        "training": training,
        "is_default_model": is_default_model(layout, snapshot.generation),
        "robustness": read_robustness(layout, snapshot.generation),
        "top_rows": TOP_ROWS,
        **_track_facts(layout, snapshot, config),
        **_code_facts(layout, snapshot, coded),
    }
    return facts | {"pictures": _pictures(facts)}


def _published_runs(snapshot: Snapshot, runs: pa.Table) -> list[RunRecord]:
    """Give the records of the runs table; of the run that published it the snapshot is known."""
    records = []
    for row in runs.to_pylist():
        if row["finished"] is None:
            row["snapshot"] = snapshot.number
        else:
            row["finished"] = row["finished"].isoformat()
        row["started"] = row["started"].isoformat()
        records.append(RunRecord(**row))
    return records


def _track_facts(layout: StoreLayout, snapshot: Snapshot, config: PipelineConfig) -> dict[str, Any]:
    track = shown_track(layout, snapshot, config, partial(published_among, layout, snapshot))
    if track is None:
        return {"track": None}
    return {"track": track, "track_row": track_row(layout, snapshot, track.track_id)}


def _code_facts(layout: StoreLayout, snapshot: Snapshot, coded: CodedTracks) -> dict[str, Any]:
    index = HashIndex.load(layout, snapshot)
    health = snapshot_health(str(layout.root), number=snapshot.number)
    pairs = pair_rows(coded)
    hoods = neighbourhoods(coded, index, partial(logits_of_row, layout, snapshot))
    shown = {row for hood in hoods for row in (hood.row, *(one.row for one in hood.neighbours))}
    compared = {*pairs.queries.tolist(), *pairs.items.tolist()}
    details = track_details(layout, snapshot, shown | compared)
    groups = {row: details[row].group for row in compared}
    return {
        "measures": measure_codes(coded.packed) if len(coded) else None,
        "health": health,
        "health_rows": health_rows(health),
        "earlier_bit_means": _earlier_bit_means(layout, health),
        "index": read_index_info(layout, snapshot.index_info),
        "coded": coded,
        "details": details,
        "pairs": separation(coded, pairs, groups),
        "neighbourhoods": hoods,
    }


def _earlier_bit_means(layout: StoreLayout, health: dict[str, Any]) -> tuple[float, ...] | None:
    """Give the bits' shares of ones in the snapshot before, if its model is the same."""
    drift = health["figures"]["drift"]
    if drift is None or not drift["is_same_model"]:
        return None
    try:
        record = read_health(layout, read_snapshot(layout, health["before"]["snapshot"]))
    except StoreError:  # it is gone since
        return None
    return None if record is None else record.bit_means


def _pictures(facts: dict[str, Any]) -> dict[str, "Picture"]:
    """Draw what there is something to draw of."""
    from tasks import report_figures as figures  # loads Matplotlib, which nothing else needs

    pictures = {}
    if facts["catalogue"].n_ok:
        pictures["durations"] = figures.durations_picture(facts["catalogue"])
    if facts["training"] and facts["training"].has_curves:
        pictures["learning"] = figures.learning_picture(facts["training"].summary)
    if facts["track"]:
        pictures["spectrogram"] = figures.spectrogram_picture(facts["track"])
    if facts["measures"]:
        pictures["bits"] = figures.bits_picture(facts["measures"])
        pictures["correlation"] = figures.correlation_picture(facts["measures"])
        pictures["buckets"] = figures.buckets_picture(facts["measures"])
    if facts["measures"] and facts["earlier_bit_means"]:
        pictures["drift"] = figures.drift_picture(
            facts["measures"].bit_means, np.array(facts["earlier_bit_means"])
        )
    if facts["pairs"]:
        pictures["distances"] = figures.separation_picture(facts["pairs"])
    return pictures
