"""Stage 2, plan: what is new, changed, moved, removed, done or failed, and what the work will cost.

Public: `make_plan`, `Plan`, `scanned_at`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from musichash_core.config import PipelineConfig
from storage.backfills import partitions_left_to_backfills
from storage.catalogue import Catalogue
from storage.errors import ArtefactMissingError, CatalogueError
from storage.extracted import (
    Extracted,
    ExtractedRanges,
    extracted_ranges,
    nothing_extracted,
)
from storage.generations import selected_generation
from storage.id_ranges import count_ranges
from storage.layout import StoreLayout
from storage.runs import read_runs
from storage.source_files import FILES
from storage.store import open_store
from tasks.changes import Changes, Comparison, TracksInRange, why_refused
from tasks.default_model import MIN_LABELS, why_no_default_model
from tasks.estimates import Estimate, Load, estimate_run
from tasks.partitioning import WORK_ROWS, PlannedPartitions, TracksToExtract, partition_work
from tasks.plan_loads import ExtractedLoads, stage_loads
from tasks.published_tracks import PublishedTracks, read_published
from tasks.rates import AudioSizes, StageRate, measure_rates


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do.

    Attributes
    ----------
    partitions : PlannedPartitions
        The tracks to extract.
    n_new : int
        Tracks never tried, at places where nothing was published.
    n_changed : int
        Tracks never tried, at a place that was published with other bytes.
    n_retried : int
        Tracks to extract that failed before.
    n_reused : int
        Tracks that have features already.
    n_kept_failed : int
        Tracks that failed before and are not tried again.
    n_unreadable : int
        Files that the scan could not read.
    n_duplicates : int
        Files whose bytes another file has too.
    n_labels : int
        Different labels in the catalogue.
    changes : Changes
        The catalogue compared with what is published: moved, removed, relabelled.
    generation : str or None
        Model generation to encode with; None when one must be trained first.
    loads : dict
        Stage -> its partitions, as `tasks.estimates.estimate_run` takes them.
    rates : dict
        Stage -> what the store's runs say of its cost.
    installs_default : bool
        Whether there is no model and nothing to train one with, so that the shipped default model
        will be installed.
    refusal : str or None
        Why a run stops here, unless it is told to accept the loss.
    n_workers : int or None
        Worker processes that the estimate is for; None is one per CPU.
    """

    partitions: PlannedPartitions
    n_new: int
    n_changed: int
    n_retried: int
    n_reused: int
    n_kept_failed: int
    n_unreadable: int
    n_duplicates: int
    n_labels: int
    changes: Changes
    generation: str | None
    loads: Mapping[str, Sequence[Load]]
    rates: Mapping[str, StageRate]
    installs_default: bool = False
    refusal: str | None = None
    n_workers: int | None = None

    @property
    def n_to_extract(self) -> int:
        """Tracks to extract."""
        return self.n_new + self.n_changed + self.n_retried

    @property
    def n_removed(self) -> int:
        """Published tracks that the catalogue no longer has."""
        return self.changes.n_removed

    @property
    def n_seen(self) -> int:
        """All tracks that the run must account for."""
        kept = self.n_reused + self.n_kept_failed + self.n_unreadable
        return self.n_to_extract + kept + self.n_removed

    @property
    def largest_first(self) -> PlannedPartitions:
        """The partitions in the order of work: a long one at the end would keep one worker busy."""
        return self.partitions.largest_first

    @property
    def estimated_s(self) -> float:
        """Estimated seconds of audio to extract."""
        return sum(self.partitions.estimated_s)

    @property
    def estimate(self) -> Estimate:
        """What the run will cost."""
        return estimate_run(self.loads, self.rates, n_workers=self.n_workers)

    @property
    def counts(self) -> dict[str, int | float | str | None]:
        """Numbers for people and for JSON: one flat structure in which every key always is."""
        return {
            "seen": self.n_seen,
            "new": self.n_new,
            "changed": self.n_changed,
            "retried": self.n_retried,
            "to_extract": self.n_to_extract,
            "reused": self.n_reused,
            "kept_failed": self.n_kept_failed,
            "unreadable": self.n_unreadable,
            "removed": self.n_removed,
            "replaced": self.changes.n_replaced,
            "moved": self.changes.n_moved,
            "relabelled": self.changes.n_relabelled,
            "duplicates": self.n_duplicates,
            "published": self.changes.n_published,
            "partitions": len(self.partitions),
            "estimated_audio_s": round(self.estimated_s, 1),
            "labels": self.n_labels,
            "model": self.generation,
            "installs_default_model": self.installs_default,
            "refused": self.refusal,
            **self.estimate.numbers,
        }


@dataclass(frozen=True, slots=True)
class _Known:
    """What the store has: nothing, when it does not exist yet."""

    layout: StoreLayout | None
    rates: Mapping[str, StageRate]
    generation: str | None


def make_plan(
    store: str,
    catalogue: Catalogue,
    config: PipelineConfig,
    *,
    retry_failed: bool = False,
    allow_shrink: bool = False,
    retrain: bool = False,
) -> Plan:
    """Compare a catalogue with what the store has; writes nothing.

    Parameters
    ----------
    retry_failed : bool
        Try tracks again whose failure is permanent, too.
    allow_shrink : bool
        Accept a catalogue that has lost most of the tracks of a root; the plan then says so.
    retrain : bool
        A new model is trained although there is one, and encodes everything; for the estimate.

    Raises
    ------
    CatalogueError
        If of a catalogue root fewer than ``config.min_kept_share`` of the published tracks are
        left, or none.
    TemporarySpaceError
        If a large catalogue finds no room in the folder for temporary files.
    """
    known = _known(store)
    with read_published(known.layout, catalogue.n_files) as published:
        work = _Work(published.sizes, retry_failed=retry_failed)
        with _extracted(known.layout, config, max(catalogue.n_files, len(published))) as extracted:
            changes = _compare(published, catalogue, extracted, work)
    refusal = why_refused(changes, config.min_kept_share)
    if refusal is not None and not allow_shrink:
        raise CatalogueError(refusal)
    partitions = partition_work(work.todo, config.partitions)
    if known.layout is not None:
        track_ids = partial(track_ids_of, catalogue)
        fingerprint = config.feature_fingerprint
        work.extracted.leave_out(partitions_left_to_backfills(known.layout, fingerprint, track_ids))
    n_labels = catalogue.n_labels
    generation = None if retrain else known.generation
    is_model_missing = known.generation is None and n_labels < MIN_LABELS
    return Plan(
        partitions=partitions,
        n_new=work.n_new,
        n_changed=work.n_changed,
        n_retried=len(work.todo) - work.n_new - work.n_changed,
        n_reused=work.n_reused,
        n_kept_failed=work.n_kept_failed,
        n_unreadable=len(catalogue.failures),
        n_duplicates=catalogue.n_files - changes.n_tracks,
        n_labels=n_labels,
        changes=changes,
        generation=known.generation,
        loads=stage_loads(known.layout, work.extracted, changes, partitions, config, generation),
        rates=known.rates,
        installs_default=is_model_missing and why_no_default_model(config) is None,
        refusal=refusal,
    )


def track_ids_of(catalogue: Catalogue) -> pa.ChunkedArray:
    """Give the track of each file of a catalogue."""
    ids = [batch["track_id"] for batch in catalogue.batches(["track_id"])]
    return pa.chunked_array(ids, pa.string())


def _known(store: str) -> _Known:
    try:
        layout = open_store(store)
    except ArtefactMissingError:
        return _Known(None, measure_rates([]), None)
    return _Known(layout, measure_rates(read_runs(layout)), selected_generation(layout))


def _extracted(
    layout: StoreLayout | None, config: PipelineConfig, n_others: int
) -> ExtractedRanges:
    """Give what has features, and what failed: nothing of a store that does not exist yet."""
    fingerprint = config.feature_fingerprint
    if layout is None:
        return nothing_extracted(fingerprint, n_ranges=count_ranges(n_others))
    return extracted_ranges(layout, fingerprint, n_others=n_others, columns=["duration_s"])


def _compare(
    published: PublishedTracks, catalogue: Catalogue, extracted: ExtractedRanges, work: "_Work"
) -> Changes:
    """Compare a catalogue with what is published, and sort its tracks by what is to be done."""
    with Comparison(published, catalogue, extracted.n_ranges) as comparison:
        for number, tracks in enumerate(comparison.ranges()):
            work.add(tracks, extracted.of_range(number))
        return comparison.changes()


class _Work:
    """The catalogue's tracks by what is to be done, range by range.

    Attributes
    ----------
    todo : TracksToExtract
        Those to extract.
    n_new, n_changed, n_reused, n_kept_failed : int
        As `Plan` counts them.
    extracted : ExtractedLoads
        What has features.
    """

    def __init__(self, sizes: AudioSizes, *, retry_failed: bool) -> None:
        self._sizes = sizes
        self._retry_failed = retry_failed
        self.todo = TracksToExtract()
        self.extracted = ExtractedLoads()
        self.n_new = self.n_changed = self.n_reused = self.n_kept_failed = 0

    def add(self, tracks: TracksInRange, extracted: Extracted) -> None:
        """Add the tracks of a range, with what is extracted of the same range."""
        facts, failures = extracted.facts, extracted.failures
        self.extracted.add(facts)
        ids = tracks.track_ids
        is_done = _is_in(ids, facts["track_id"])
        permanent_ids = failures["track_id"].filter(pc.invert(failures["retryable"]))
        is_left = is_done if self._retry_failed else is_done | _is_in(ids, permanent_ids)
        rows = pc.index_in(ids, value_set=failures["track_id"].combine_chunks())
        attempts = pc.fill_null(failures["attempts"].take(rows), 0).to_numpy()
        is_first = ~is_left & (attempts == 0)
        n_first, n_changed = int(is_first.sum()), int((is_first & tracks.is_changed).sum())
        self.n_new += n_first - n_changed
        self.n_changed += n_changed
        self.n_reused += int(is_done.sum())
        self.n_kept_failed += int((is_left & ~is_done).sum())
        if not is_left.all():
            files = tracks.files.take(pa.array(tracks.first[~is_left]))
            self.todo.add(self._rows(files, attempts[~is_left]))

    def _rows(self, files: pa.Table, attempts: NDArray[np.int64]) -> pa.Table:
        """Put the number of attempts and the estimated length beside files to extract."""
        names = zip(files["path"].to_pylist(), files["n_bytes"].to_pylist(), strict=True)
        estimated_s = [self._sizes.estimate_s(path, n_bytes) for path, n_bytes in names]
        columns = [files[name] for name in FILES.names]
        return pa.table([*columns, attempts, estimated_s], schema=WORK_ROWS)


def _is_in(ids: pa.Array, others: pa.ChunkedArray) -> NDArray[np.bool_]:
    flags: NDArray[np.bool_] = pc.is_in(ids, value_set=others).to_numpy(zero_copy_only=False)
    return flags


def scanned_at(store: str) -> datetime:
    """Give when the catalogue that `tasks.scan.recorded` reads was recorded.

    Raises
    ------
    ArtefactMissingError
        If there is no store, or no scan was recorded in it.
    """
    path = open_store(store).catalogue_path
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError as error:
        raise ArtefactMissingError(
            f"the store {store} has no catalogue yet; run 'musichash scan --catalogue DIR' first"
        ) from error
