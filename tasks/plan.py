"""Stage 2, plan: what is new, changed, moved, removed, done or failed, and what the work will cost.

Public: `make_plan`, `Plan`, `scanned_at`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from musichash_core.config import PipelineConfig
from musichash_core.records import Partition, WorkItem
from storage.catalogue import Catalogue
from storage.errors import ArtefactMissingError, CatalogueError
from storage.extracted import Extracted, read_extracted
from storage.generations import selected_generation
from storage.layout import StoreLayout
from storage.runs import read_runs
from storage.schemas import FAILURES, TRACK_FACTS
from storage.source_files import SourceFiles
from storage.store import open_store
from tasks.changes import Changes, compare, places_of, read_published, why_refused
from tasks.default_model import MIN_LABELS, why_no_default_model
from tasks.estimates import Estimate, Load, estimate_run
from tasks.partitioning import partition_work
from tasks.plan_loads import stage_loads
from tasks.rates import AudioSizes, StageRate, measure_audio_sizes, measure_rates


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do.

    Attributes
    ----------
    partitions : tuple of Partition
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

    partitions: tuple[Partition, ...]
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
    def largest_first(self) -> list[Partition]:
        """The partitions in the order of work: a long one at the end would keep one worker busy."""
        return sorted(self.partitions, key=lambda partition: -partition.estimated_s)

    @property
    def estimated_s(self) -> float:
        """Estimated seconds of audio to extract."""
        return sum(partition.estimated_s for partition in self.partitions)

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
    facts: pa.Table
    failures: pa.Table
    published: pa.Table
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
    """
    known = _known(store, config)
    changes = compare(known.published, places_of(catalogue))
    refusal = why_refused(changes, config.min_kept_share)
    if refusal is not None and not allow_shrink:
        raise CatalogueError(refusal)
    work = _sort_work(changes.tracks, known, retry_failed=retry_failed)
    partitions = partition_work(
        _work_items(catalogue, work.todo, measure_audio_sizes(known.published)), config.partitions
    )
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
        n_duplicates=len(catalogue.table) - len(changes.tracks),
        n_labels=n_labels,
        changes=changes,
        generation=known.generation,
        loads=stage_loads(known.layout, known.facts, changes, partitions, config, generation),
        rates=known.rates,
        installs_default=is_model_missing and why_no_default_model(config) is None,
        refusal=refusal,
    )


def _known(store: str, config: PipelineConfig) -> _Known:
    try:
        layout = open_store(store)
    except ArtefactMissingError:
        facts = TRACK_FACTS.empty_table().append_column("partition_id", pa.array([], pa.string()))
        nothing = FAILURES.empty_table()
        return _Known(None, facts, nothing, read_published(None), measure_rates([]), None)
    extracted: Extracted = read_extracted(layout, config.feature_fingerprint)
    return _Known(
        layout,
        facts=extracted.facts,
        failures=extracted.failures,
        published=read_published(layout),
        rates=measure_rates(read_runs(layout)),
        generation=selected_generation(layout),
    )


@dataclass(frozen=True, slots=True)
class _Work:
    """The catalogue's tracks by what is to be done: `todo` has ``row`` and ``attempts``."""

    todo: pa.Table
    n_new: int
    n_changed: int
    n_reused: int
    n_kept_failed: int


def _sort_work(tracks: pa.Table, known: _Known, *, retry_failed: bool) -> _Work:
    ids, failures = tracks["track_id"], known.failures
    is_done = pc.is_in(ids, value_set=known.facts["track_id"])
    permanent_ids = failures["track_id"].filter(pc.invert(failures["retryable"]))
    is_permanent = pc.and_not(pc.is_in(ids, value_set=permanent_ids), is_done)
    is_left = is_done if retry_failed else pc.or_(is_done, is_permanent)
    rows = pc.index_in(ids, value_set=failures["track_id"])
    attempts = pc.fill_null(failures["attempts"].take(rows), 0)
    todo = tracks.append_column("attempts", attempts).filter(pc.invert(is_left))
    is_first = pc.equal(todo["attempts"], 0)
    n_changed = _count(pc.and_(is_first, todo["is_changed"]))
    n_done = _count(is_done)
    return _Work(
        todo,
        n_new=_count(is_first) - n_changed,
        n_changed=n_changed,
        n_reused=n_done,
        n_kept_failed=len(tracks) - len(todo) - n_done,
    )


def _count(flags: pa.ChunkedArray) -> int:
    return int(pc.sum(flags).as_py() or 0)


def _work_items(catalogue: Catalogue, todo: pa.Table, sizes: AudioSizes) -> list[WorkItem]:
    """Make the records that workers are given: only of tracks to extract."""
    files = catalogue.rows.files.table.take(todo["row"])
    attempts = todo["attempts"].to_pylist()
    return [
        WorkItem(file, tried, sizes.estimate_s(file.path, file.n_bytes))
        for file, tried in zip(SourceFiles(files), attempts, strict=True)
    ]


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
