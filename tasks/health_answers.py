"""Telling the health of a snapshot's codes: what was measured, judged by thresholds, in sentences.

Public: `snapshot_health`, `kept_health`, `current_health`.
"""

from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from musichash_core.health_config import HealthConfig
from musichash_core.health_figures import HealthFigures
from musichash_core.health_findings import find_faults, level_of
from storage.code_health import HealthRecord, read_health, write_health
from storage.errors import StoreError
from storage.layout import StoreLayout
from storage.published import read_table, require_snapshot
from storage.snapshots import Snapshot, current_snapshot, read_snapshot
from storage.store import open_store
from tasks.code_health import measure_health
from tasks.snapshots import check_known


def snapshot_health(
    store: str, *, number: int | None = None, config: HealthConfig | None = None
) -> dict[str, Any]:
    """Tell the health of a snapshot's codes; measures it where nothing is kept.

    Parameters
    ----------
    number : int, optional
        The snapshot; the current one when not given.
    config : HealthConfig, optional
        Thresholds to judge by; those of the run that published it when not given.

    Returns
    -------
    dict
        ``snapshot``, ``level`` ("ok", "warn", "alarm"), ``sentence``, ``findings``, and the record:
        ``figures``, ``bit_means``, ``largest_bucket_tracks`` and ``canaries`` with their paths,
        ``before``, ``thresholds``.

    Raises
    ------
    ArtefactMissingError
        If nothing is published.
    UnknownSnapshotError
        If there is no such snapshot.
    """
    layout = open_store(store)
    snapshot = require_snapshot(layout) if number is None else _numbered(layout, number)
    record, is_kept = measure_health(layout, snapshot, config or HealthConfig())
    if not is_kept and not layout.origin_path.exists():
        _keep_if_possible(layout, record)
    if config is not None:
        record = replace(record, thresholds=config)
    return _told(snapshot, record) | _with_paths(layout, snapshot, record)


def _numbered(layout: StoreLayout, number: int) -> Snapshot:
    check_known(layout, number)
    return read_snapshot(layout, number)


def _keep_if_possible(layout: StoreLayout, record: HealthRecord) -> None:
    """Keep what was measured, unless the store is for reading only."""
    try:
        write_health(layout, record)
    except StoreError:
        return


def current_health(store: str) -> dict[str, Any] | None:
    """Tell what is kept of the health of the current snapshot; measures nothing."""
    layout = open_store(store)
    snapshot = current_snapshot(layout)
    return None if snapshot is None else kept_health(layout, snapshot)


def kept_health(layout: StoreLayout, snapshot: Snapshot) -> dict[str, Any] | None:
    """Tell what is kept of the health of a snapshot, and measure nothing; None if nothing is."""
    record = read_health(layout, snapshot)
    return None if record is None else _told(snapshot, record)


def _told(snapshot: Snapshot, record: HealthRecord) -> dict[str, Any]:
    findings = find_faults(record.figures, record.thresholds)
    return {
        "snapshot": snapshot.number,
        "level": level_of(findings),
        "sentence": _sentence(record.figures, record.thresholds),
        "findings": [asdict(finding) for finding in findings],
        **record.as_dict(),
    }


def _sentence(figures: HealthFigures, config: HealthConfig) -> str:
    """Put the figures into one line."""
    codes = figures.codes
    if codes is None:
        return "there are no codes"
    parts = [
        f"{codes.n_codes:,} codes of {codes.n_bits} bits, {codes.n_distinct:,} distinct",
        f"entropy {codes.entropy:.1f} bits ({codes.entropy_share:.0%} of what is possible)",
        f"least even bit {codes.worst_bit_mean:.0%} ones",
        f"largest correlation {abs(codes.largest_correlation):.2f}",
    ]
    drift = figures.drift
    if drift is not None and drift.is_same_model:
        parts.append(f"{drift.n_new:,} new, {drift.n_changed:,} known ones changed")
    elif drift is not None:
        parts.append("another model than before")
    if codes.n_codes < config.min_tracks:
        parts.append(f"fewer than {config.min_tracks}, so shares are not judged")
    return "; ".join(parts)


def _with_paths(layout: StoreLayout, snapshot: Snapshot, record: HealthRecord) -> dict[str, Any]:
    """Give the named tracks of a record with their paths."""
    answers = [name for canary in record.canaries for name, _ in canary.neighbours]
    canaries = [canary.track_id for canary in record.canaries]
    paths = _paths(layout, snapshot, {*record.largest_bucket_tracks, *canaries, *answers})
    return {
        "largest_bucket_tracks": [
            {"track_id": name, "path": paths.get(name)} for name in record.largest_bucket_tracks
        ],
        "canaries": [
            {
                "track_id": canary.track_id,
                "path": paths.get(canary.track_id),
                "genre": canary.genre,
                "finds_itself": canary.finds_itself,
                "neighbours": [
                    {"track_id": name, "path": paths.get(name), "distance": distance}
                    for name, distance in canary.neighbours
                ],
            }
            for canary in record.canaries
        ],
    }


def _paths(layout: StoreLayout, snapshot: Snapshot, track_ids: Iterable[str]) -> dict[str, str]:
    """Find the first location of some tracks."""
    tracks = read_table(layout, snapshot, "tracks", columns=["track_id", "path"])
    wanted = tracks.filter(
        pc.is_in(tracks["track_id"], value_set=pa.array(sorted(track_ids), pa.string()))
    )
    return dict(zip(wanted["track_id"].to_pylist(), wanted["path"].to_pylist(), strict=True))
