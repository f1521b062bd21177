"""Measuring the health of a snapshot's codes, before it is published or when it is asked for.

Public: `check_health`, `measure_health`, `CodeHealthAlarmError`.
"""

import numpy as np
from numpy.typing import NDArray

from musichash_core.code_drift import CodeSet, changed_bits, compare_codes
from musichash_core.code_health import CodeMeasures, measure_codes, unsure_shares
from musichash_core.errors import MusicHashError
from musichash_core.health_config import HealthConfig
from musichash_core.health_figures import CodeFigures, DriftFigures, HealthFigures
from musichash_core.health_findings import find_faults
from storage.code_health import Earlier, HealthRecord, read_health, write_health
from storage.coded_tracks import (
    CodedTracks,
    read_coded_tracks,
    read_sampled_logits,
    rows_of,
)
from storage.errors import StoreError
from storage.indexes import HashIndex
from storage.layout import StoreLayout
from storage.snapshots import Snapshot, current_snapshot, list_snapshots, read_snapshot
from tasks.canaries import ask_canaries, compare_answers

N_NAMED_TRACKS = 5
"""Tracks of the largest bucket that are named."""


class CodeHealthAlarmError(MusicHashError):
    """The codes are in a state in which the configuration wants nothing published."""


def check_health(
    layout: StoreLayout,
    snapshot: Snapshot,
    config: HealthConfig | None = None,
) -> HealthRecord:
    """Measure a snapshot that is about to be published, and keep what was found.

    Parameters
    ----------
    snapshot : Snapshot
        Its files are written, and it has no number yet.
    config : HealthConfig, optional
        Without it, the thresholds of the current snapshot's run.

    Raises
    ------
    CodeHealthAlarmError
        If there is an alarm and the thresholds say that it blocks.
    """
    earlier = current_snapshot(layout)
    config = config or _thresholds_of(layout, earlier)
    now, logits = read_coded_tracks(layout, snapshot), read_sampled_logits(layout, snapshot)
    record = _measure(layout, snapshot, earlier, now, logits, config)
    write_health(layout, record)
    alarms = [fault for fault in find_faults(record.figures, config) if fault.level == "alarm"]
    if alarms and config.block_on_alarm:
        raise CodeHealthAlarmError(
            f"the codes raise {len(alarms)} alarm(s) and health.block_on_alarm is set, so nothing "
            f"is published: {'; '.join(alarm.what for alarm in alarms)}. What to do: "
            f"{alarms[0].remedy}; or set health.block_on_alarm=false"
        )
    return record


def _thresholds_of(layout: StoreLayout, snapshot: Snapshot | None) -> HealthConfig:
    """Give the thresholds that a snapshot was judged by; the defaults where nothing is kept."""
    record = None if snapshot is None else read_health(layout, snapshot)
    return HealthConfig() if record is None else record.thresholds


def measure_health(
    layout: StoreLayout, snapshot: Snapshot, config: HealthConfig
) -> tuple[HealthRecord, bool]:
    """Give what is kept of a published snapshot, or measure it; whether it was kept comes second.

    It is compared with the snapshot that was published last before it and is still there.
    """
    kept = read_health(layout, snapshot)
    if kept is not None:
        return kept, True
    now = read_coded_tracks(layout, snapshot)
    logits = read_sampled_logits(layout, snapshot)
    return _measure(layout, snapshot, _published_before(layout, snapshot), now, logits, config), (
        False
    )


def _published_before(layout: StoreLayout, snapshot: Snapshot) -> Snapshot | None:
    for number in reversed([each for each in list_snapshots(layout) if each < snapshot.number]):
        try:
            return read_snapshot(layout, number)
        except StoreError:  # damaged: the one before it will do
            continue
    return None


def _measure(
    layout: StoreLayout,
    snapshot: Snapshot,
    earlier: Snapshot | None,
    now: CodedTracks,
    logits: NDArray[np.float32],
    config: HealthConfig,
) -> HealthRecord:
    measures = measure_codes(now.codes) if len(now.codes) else None
    drift = None if earlier is None else _drift_since(layout, earlier, snapshot, now)
    index = HashIndex.load(layout, snapshot)
    canaries = ask_canaries(now, index, n_canaries=config.n_canaries)
    kept_before = None if drift is None or earlier is None else read_health(layout, earlier)
    known = () if kept_before is None else kept_before.canaries
    return HealthRecord(
        digest=snapshot.digest,
        generation=snapshot.generation,
        figures=HealthFigures(
            codes=None
            if measures is None
            else CodeFigures.of(measures, unsure=unsure_shares(logits)),
            drift=drift,
            canaries=compare_answers(now, canaries, known),
        ),
        bit_means=() if measures is None else tuple(np.round(measures.bit_means, 6).tolist()),
        largest_bucket_tracks=() if measures is None else _crowded_tracks(now, measures),
        canaries=canaries,
        before=None
        if drift is None or earlier is None
        else Earlier(earlier.number, earlier.generation, earlier.digest),
        thresholds=config,
    )


def _crowded_tracks(now: CodedTracks, measures: CodeMeasures) -> tuple[str, ...]:
    """Name some tracks of the largest bucket; none where all codes differ."""
    if measures.buckets.largest < 2:
        return ()
    same = (now.codes == measures.buckets.largest_code).all(axis=1)
    rows = np.flatnonzero(same)[:N_NAMED_TRACKS]
    return tuple(bytes(track_id).decode() for track_id in now.track_ids[rows])


def _drift_since(
    layout: StoreLayout, earlier: Snapshot, snapshot: Snapshot, now: CodedTracks
) -> DriftFigures | None:
    """Compare with an earlier snapshot; None where it cannot be read, or has no codes."""
    try:
        before = read_coded_tracks(layout, earlier)
    except StoreError:  # it is not this snapshot's matter: 'verify' finds what is wrong with it
        return None
    if not len(before.codes) or not len(now.codes):
        return None
    rows = rows_of(before.track_ids, now.track_ids)
    is_new = rows < 0
    n_common = int(len(rows) - is_new.sum())
    tracks = (n_common, int(is_new.sum()), len(before.codes) - n_common)
    is_same_model = earlier.generation == snapshot.generation
    if not is_same_model or before.codes.shape[1] != now.codes.shape[1]:
        return DriftFigures(False, *tracks)
    names = {name: number for number, name in enumerate(before.genre_names)}
    for name in now.genre_names:
        names.setdefault(name, len(names))
    renumbered = np.array([names[name] for name in now.genre_names], dtype=np.int64)
    drift = compare_codes(
        CodeSet(before.codes, before.genres), CodeSet(now.codes, renumbered[now.genres]), is_new
    )
    changed = changed_bits(before.codes[rows[~is_new]], now.codes[~is_new])
    return DriftFigures.of(drift, tracks=tracks, changed=changed)
