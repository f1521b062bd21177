"""What a monitoring system is told of a store: its runs, what is published, and what is amiss.

Every figure comes from what the store keeps anyway, so that asking costs milliseconds. No label
has more values than there are stages, tables, codes of failures or collections.

Public: `store_metrics`, `keep_metrics`, `write_metrics_file`, `metrics_text`,
`MetricsPlaceError`.
"""

import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

from musichash_core.health_findings import Level
from storage.atomic import to_json, write_file
from storage.backfills import open_backfills
from storage.collections import read_collections
from storage.errors import StoreError
from storage.exposition import Metric, Sample, metrics_json, prometheus_text, write_metrics
from storage.layout import StoreLayout
from storage.log_lines import ROOT_LOGGER
from storage.published import read_batches, read_table
from storage.runs import read_runs
from storage.snapshots import Snapshot, current_snapshot
from storage.store import beside_owner, lock_owner, open_store
from tasks.health_answers import kept_health
from tasks.living_runs import seen_from_outside
from tasks.monitoring_runs import (
    ENDS,
    by,
    gauge,
    metrics_of_runs,
    metrics_of_the_last_run,
    seconds_since_1970,
)
from tasks.value_counts import value_counts

HEALTH_LEVELS = get_args(Level)

log = logging.getLogger(f"{ROOT_LOGGER}.{__name__}")

MOST_COLLECTIONS = 50
"""Catalogue roots that have a sample of their own; all others share one."""

OTHER = "(other)"


class MetricsPlaceError(StoreError):
    """Metrics cannot be written where they were asked for."""

    is_wrong_input = True


def store_metrics(store: str, *, to_keep: bool = False) -> list[Metric]:
    """Tell how a store is, for a monitoring system. Changes nothing.

    Parameters
    ----------
    to_keep : bool
        Leave out who works on the store now, and the tracks of each collection, for which a column
        of the tracks table is read.

    Raises
    ------
    ArtefactMissingError
        If the folder is no store.
    """
    layout = open_store(store)
    problems: list[str] = []
    runs = _readable(lambda: seen_from_outside(layout, read_runs(layout)), [], problems)
    snapshot = _readable(lambda: current_snapshot(layout), None, problems)
    metrics = [
        gauge(
            "build_info",
            "Version of musichash that wrote this.",
            [Sample(1, {"version": version("musichash")})],
        ),
        gauge(
            "metrics_timestamp_seconds",
            "When these figures were taken.",
            [Sample(round(time.time(), 3))],
        ),
        *metrics_of_runs(runs),
        *metrics_of_the_last_run([run for run in runs if run.state in ENDS]),
    ]
    if snapshot is not None:
        metrics += _metrics_of_snapshot(layout, snapshot, problems)
        if not to_keep:
            metrics.append(_readable(lambda: _by_collection(layout, snapshot), _none(), problems))
    if not to_keep:
        metrics += _metrics_of_locks(layout)
    backfills = _readable(lambda: open_backfills(layout), [], problems)
    metrics.append(
        gauge(
            "open_backfills", "Backfills that are begun and not complete.", [Sample(len(backfills))]
        )
    )
    metrics += _metrics_of_disk(layout)
    metrics.append(
        gauge(
            "problems",
            "Parts of the store that cannot be read; musichash status names them.",
            [Sample(len(problems))],
        )
    )
    return [_of_store(layout, metric) for metric in metrics]


def keep_metrics(layout: StoreLayout) -> None:
    """Write the figures into the store; what keeps them from being written is no run's matter."""
    try:
        write_metrics(layout, store_metrics(str(layout.root), to_keep=True))
    except Exception as error:  # noqa: BLE001 - a run that has ended well must not fail over this
        log.warning("the figures for monitoring are not written: %s", error)


def write_metrics_file(path: Path, metrics: Sequence[Metric]) -> None:
    """Write metrics where a collector looks for them: it sees the old file or the new one.

    The form follows from the name: ``.json`` is JSON, all others are Prometheus' text.

    Raises
    ------
    MetricsPlaceError
        If the folder is missing, or cannot be written.
    """
    data = metrics_text(metrics, is_json=path.suffix == ".json").encode()
    if not path.parent.is_dir():
        raise MetricsPlaceError(
            f"there is no folder {path.parent.absolute()} for --output; make it first, or name "
            "that of node_exporter's --collector.textfile.directory"
        )
    try:
        write_file(path, data)
    except OSError as error:
        raise MetricsPlaceError(f"{path} cannot be written: {error.strerror}") from error


def metrics_text(metrics: Sequence[Metric], *, is_json: bool) -> str:
    """Give metrics as JSON or as Prometheus' text."""
    return to_json(metrics_json(metrics)).decode() if is_json else prometheus_text(metrics)


def _readable(read: Callable[[], Any], otherwise: Any, problems: list[str]) -> Any:  # noqa: ANN401 - whatever is read
    try:
        return read()
    except (StoreError, OSError, ValueError, KeyError) as error:  # Arrow's errors are of these
        problems.append(str(error))
        return otherwise


_PUBLISHED = (("encoded", "codes"), ("failed", "failures"))
"""Outcomes of published tracks, and the counts of a manifest that tell them."""


def _none() -> Metric:
    return gauge("collection_tracks", "", [])


def _of_store(layout: StoreLayout, metric: Metric) -> Metric:
    """Name the store in each sample: one machine may watch over several."""
    named = [Sample(one.value, {"store": layout.root.name, **one.labels}) for one in metric.samples]
    return Metric(metric.name, metric.kind, metric.meaning, named)


# --- what is published ---------------------------------------------------------------------------


def _metrics_of_snapshot(
    layout: StoreLayout, snapshot: Snapshot, problems: list[str]
) -> list[Metric]:
    counts = snapshot.counts
    sizes = {entry.path: entry.size for entry in snapshot.files}
    tables = {
        name: float(sum(sizes.get(path, 0) for path in paths))
        for name, paths in sorted(snapshot.tables.items())
    }
    index_folder = f"{layout.relative(layout.index_root)}/"
    health = _readable(lambda: kept_health(layout, snapshot), None, problems)
    return [
        gauge("snapshot_number", "Number of the published snapshot.", [Sample(snapshot.number)]),
        gauge(
            "published_tracks",
            "Tracks of the published snapshot.",
            by("outcome", {name: counts[rows] for name, rows in _PUBLISHED if rows in counts}),
        ),
        gauge(
            "failed_tracks",
            "Tracks that cannot be used, by the code of the failure; musichash failures tells why.",
            by("code", _readable(lambda: _failures(layout, snapshot), {}, problems)),
        ),
        gauge("table_bytes", "Size of the published tables.", by("table", tables)),
        gauge(
            "index_bytes",
            "Size of the published search index.",
            [Sample(sum(n for path, n in sizes.items() if path.startswith(index_folder)))],
        ),
        gauge(
            "code_health",
            "What was found of the hash codes: 1 for its level.",
            [
                Sample(float(health["level"] == level), {"level": level})
                for level in HEALTH_LEVELS
                if health is not None
            ],
        ),
    ]


def _failures(layout: StoreLayout, snapshot: Snapshot) -> dict[str, float]:
    if snapshot.counts.get("failures") == 0:
        return {}
    counts = read_table(layout, snapshot, "failures", columns=["code"])["code"].value_counts()
    return dict(sorted((one["values"], float(one["counts"])) for one in counts.to_pylist()))


def _by_collection(layout: StoreLayout, snapshot: Snapshot) -> Metric:
    """Count the tracks below each catalogue root; a registered one has a name."""
    names = {one.root: one.name for one in read_collections(layout)}
    counts: Counter[str] = Counter()
    _, batches = read_batches(layout, snapshot, "tracks", columns=["root"])
    for batch in batches:
        counts += value_counts(batch["root"])
    found = sorted((-count, root) for root, count in counts.items())
    shown = {names.get(root, root): float(-count) for count, root in found[:MOST_COLLECTIONS]}
    if len(found) > MOST_COLLECTIONS:
        shown[OTHER] = float(-sum(count for count, _ in found[MOST_COLLECTIONS:]))
    return gauge(
        "collection_tracks",
        "Published tracks by registered collection, or by catalogue root.",
        by("collection", shown),
    )


# --- now -----------------------------------------------------------------------------------------


def _metrics_of_locks(layout: StoreLayout) -> list[Metric]:
    owners = {"run": lock_owner(layout), "backfill": beside_owner(layout)}
    heartbeats: dict[str, float] = {}
    for name, owner in owners.items():
        if owner is not None:
            with suppress(ValueError):  # a record that is torn
                heartbeats[name] = seconds_since_1970(owner.heartbeat)
    return [
        gauge(
            "lock_held",
            "Whether somebody writes to the store: a run, or a backfill.",
            by("lock", {name: float(owner is not None) for name, owner in owners.items()}),
        ),
        gauge(
            "lock_heartbeat_timestamp_seconds",
            "Last sign of life of whoever writes to the store.",
            by("lock", heartbeats),
        ),
    ]


def _metrics_of_disk(layout: StoreLayout) -> list[Metric]:
    usage = shutil.disk_usage(layout.root)
    inodes = os.statvfs(layout.root)
    return [
        gauge("filesystem_free_bytes", "Free bytes where the store lies.", [Sample(usage.free)]),
        gauge(
            "filesystem_size_bytes",
            "Size of the file system where the store lies.",
            [Sample(usage.total)],
        ),
        gauge(
            "filesystem_free_files",
            "Files that can still be made where the store lies.",
            [Sample(inodes.f_favail)],
        ),
    ]
