"""Stage 2, plan: what is new, done, failed or gone, and the partitions of the work to do.

Public: `make_plan`, `Plan`, `partition_work`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from musichash_core.config import PartitionConfig, PipelineConfig
from musichash_core.records import Partition, SourceFile, WorkItem, partition_of
from storage.catalogue import Catalogue
from storage.errors import ArtefactMissingError, CatalogueError
from storage.extracted import Extracted, read_extracted
from storage.generations import selected_generation
from storage.published import published_track_ids
from storage.store import open_store
from tasks.default_model import MIN_LABELS, why_no_default_model

SMALL_RUN_PARTITIONS = 32
"""A run with less work than this many full partitions is cut into about this many smaller ones."""

MIN_PARTITION_AUDIO_S = 60.0

BYTES_PER_AUDIO_S = {
    ".wav": 176_400,
    ".aif": 176_400,
    ".aiff": 176_400,
    ".flac": 90_000,
    ".ogg": 14_000,
    ".oga": 14_000,
    ".opus": 14_000,
}
OTHER_BYTES_PER_AUDIO_S = 24_000
"""Rough rates: they balance the partitions and estimate the work, and decide nothing else."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do.

    Attributes
    ----------
    partitions : tuple of Partition
        The tracks to extract.
    n_new, n_retried : int
        Tracks to extract: never tried, and failed before.
    n_reused : int
        Tracks that have features already.
    n_kept_failed : int
        Tracks that failed before and are not tried again.
    n_unreadable : int
        Files that the scan could not read.
    n_removed : int
        Published tracks that the catalogue no longer has.
    n_duplicates : int
        Files whose bytes another file has too.
    n_labels : int
        Different labels in the catalogue.
    generation : str or None
        Model generation to encode with; None when one must be trained first.
    installs_default : bool
        Whether there is none and nothing to train one with, so that the shipped default model will
        be installed.
    """

    partitions: tuple[Partition, ...]
    n_new: int
    n_retried: int
    n_reused: int
    n_kept_failed: int
    n_unreadable: int
    n_removed: int
    n_duplicates: int
    n_labels: int
    generation: str | None
    installs_default: bool = False

    @property
    def n_to_extract(self) -> int:
        """Tracks to extract."""
        return self.n_new + self.n_retried

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
    def counts(self) -> dict[str, int | float | str | None]:
        """Numbers for people and for JSON."""
        return {
            "seen": self.n_seen,
            "new": self.n_new,
            "retried": self.n_retried,
            "reused": self.n_reused,
            "kept_failed": self.n_kept_failed,
            "unreadable": self.n_unreadable,
            "removed": self.n_removed,
            "duplicates": self.n_duplicates,
            "partitions": len(self.partitions),
            "estimated_audio_s": round(self.estimated_s, 1),
            "labels": self.n_labels,
            "model": self.generation,
            "installs_default_model": self.installs_default,
        }


@dataclass(frozen=True, slots=True)
class _Known:
    """What the store has: nothing, when it does not exist yet."""

    done_ids: set[str]
    attempts: dict[str, int]
    permanent_ids: set[str]
    published_ids: set[str]
    generation: str | None


def make_plan(
    store: str,
    catalogue: Catalogue,
    config: PipelineConfig,
    *,
    retry_failed: bool = False,
    allow_shrink: bool = False,
) -> Plan:
    """Compare a catalogue with what the store has; writes nothing.

    Parameters
    ----------
    retry_failed : bool
        Try tracks again whose failure is permanent, too.
    allow_shrink : bool
        Accept a catalogue that has lost most of its tracks.

    Raises
    ------
    CatalogueError
        If fewer than ``config.min_kept_share`` of the published tracks are left.
    """
    known = _known(store, config)
    rows = catalogue.by_track()
    removed = known.published_ids - rows.keys()
    if not allow_shrink:
        _check_kept_share(len(removed), len(known.published_ids), config.min_kept_share)
    done = known.done_ids & rows.keys()
    kept_failed = set() if retry_failed else (known.permanent_ids & rows.keys()) - done
    todo = [
        _work_item(rows[track_id][0].file, known)
        for track_id in sorted(rows.keys() - done - kept_failed)
    ]
    n_retried = sum(item.attempts > 0 for item in todo)
    n_labels = len({row.label for row in catalogue.rows} - {None})
    is_model_missing = known.generation is None and n_labels < MIN_LABELS
    return Plan(
        partitions=partition_work(todo, config.partitions),
        n_new=len(todo) - n_retried,
        n_retried=n_retried,
        n_reused=len(done),
        n_kept_failed=len(kept_failed),
        n_unreadable=len(catalogue.failures),
        n_removed=len(removed),
        n_duplicates=len(catalogue.rows) - len(rows),
        n_labels=n_labels,
        generation=known.generation,
        installs_default=is_model_missing and why_no_default_model(config) is None,
    )


def _known(store: str, config: PipelineConfig) -> _Known:
    try:
        layout = open_store(store)
    except ArtefactMissingError:
        return _Known(set(), {}, set(), set(), None)
    extracted: Extracted = read_extracted(layout, config.feature_fingerprint)
    failures = extracted.failures.to_pylist()
    return _Known(
        done_ids=extracted.done_ids,
        attempts={row["track_id"]: row["attempts"] for row in failures},
        permanent_ids={row["track_id"] for row in failures if not row["retryable"]},
        published_ids=published_track_ids(layout),
        generation=selected_generation(layout),
    )


def _check_kept_share(n_removed: int, n_published: int, min_kept_share: float) -> None:
    kept = n_published - n_removed
    if kept < min_kept_share * n_published:
        raise CatalogueError(
            f"the scan finds {kept} of the {n_published} published tracks, fewer than "
            f"{min_kept_share:.0%} (min_kept_share); mount the missing disk, name every catalogue "
            "root, or accept the loss with --allow-shrink"
        )


def _work_item(file: SourceFile, known: _Known) -> WorkItem:
    return WorkItem(file, known.attempts.get(file.track_id, 0), _estimate_s(file))


def _estimate_s(file: SourceFile) -> float:
    suffix = PurePosixPath(file.path).suffix.lower()
    return max(1.0, file.n_bytes / BYTES_PER_AUDIO_S.get(suffix, OTHER_BYTES_PER_AUDIO_S))


def partition_work(items: Sequence[WorkItem], config: PartitionConfig) -> tuple[Partition, ...]:
    """Cut tracks into partitions by estimated seconds of audio, in the order given."""
    share = sum(item.estimated_s for item in items) / SMALL_RUN_PARTITIONS
    target_s = min(config.max_audio_s, max(MIN_PARTITION_AUDIO_S, share))
    partitions = []
    current: list[WorkItem] = []
    current_s = 0.0
    for item in items:
        is_full = len(current) >= config.max_tracks or current_s + item.estimated_s > target_s
        if current and is_full:
            partitions.append(partition_of(current))
            current, current_s = [], 0.0
        current.append(item)
        current_s += item.estimated_s
    if current:
        partitions.append(partition_of(current))
    return tuple(partitions)
