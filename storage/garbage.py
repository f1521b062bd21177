"""Collecting garbage: what no kept snapshot, no next run and no backfill needs, removed safely.

A plan says what stays and what goes; carrying it out removes manifests first, durably, so that no
manifest lists what is gone. A collection that is killed leaves nothing but garbage, and the next
one ends where an undisturbed one does: a note in ``work/gc.json`` keeps what the removed manifests
said until their files are gone.

Public: `plan_collection`, `collect`, `Collection`, `Removal`, `AlsoNeeded`, `measure_leftovers`.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musichash_core.descriptors import description_fingerprint
from storage.atomic import LEFTOVER_PREFIX, fsync_path, read_json, remove_folder, write_json
from storage.code_health import unneeded_health_records
from storage.errors import ArtefactMissingError, DamagedArtefactError, StoreError
from storage.generations import list_generations, read_model_card, selected_generation
from storage.layout import RECEIPT_NAME, StoreLayout
from storage.partition_needs import needed_partitions
from storage.snapshots import Snapshot, current_snapshot, list_snapshots, read_snapshot

_CONTENT_NAME = re.compile(r"[0-9a-f]{24}\.(parquet|faiss|json)")


@dataclass(frozen=True, slots=True)
class AlsoNeeded:
    """What is needed although no snapshot lists it and no model in force reads it.

    Attributes
    ----------
    whole_fingerprints : frozenset of str
        Feature fingerprints of which all partitions stay: those that open backfills fill.
    whole_generations : frozenset of str
        Generations of which all codes stay, for the same reason.
    fingerprints : frozenset of str
        Feature fingerprints of which the partitions of the recorded catalogue stay.
    """

    whole_fingerprints: frozenset[str] = frozenset()
    whole_generations: frozenset[str] = frozenset()
    fingerprints: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Removal:
    """One file or folder to remove.

    Attributes
    ----------
    path : str
        Below the store root.
    kind : str
        ``snapshot``, ``table part``, ``index``, ``features``, ``descriptions``, ``codes``,
        ``cache`` or ``model``.
    n_bytes : int
        What it takes up.
    """

    path: str
    kind: str
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Collection:
    """What a garbage collection keeps and removes.

    Attributes
    ----------
    kept : tuple of int
        Snapshots that stay.
    removed : tuple of int
        Snapshots that go; those whose manifests are damaged among them.
    removals : tuple of Removal
        Everything to remove, manifests first.
    retired : frozenset of str
        Generations and feature fingerprints of removed snapshots that nothing kept is of.
    """

    kept: tuple[int, ...]
    removed: tuple[int, ...]
    removals: tuple[Removal, ...]
    retired: frozenset[str]

    @property
    def n_bytes(self) -> int:
        """Bytes that removing all of it frees."""
        return sum(removal.n_bytes for removal in self.removals)


def plan_collection(
    layout: StoreLayout,
    *,
    keep: int,
    also_needed: AlsoNeeded | None = None,
    with_models: bool = False,
) -> Collection:
    """Decide what stays and what goes; removes nothing.

    Parameters
    ----------
    keep : int
        How many of the newest snapshots stay; the current one stays always.
    also_needed : AlsoNeeded, optional
        What open backfills and the next run need.
    with_models : bool
        Whether models go too that no kept snapshot and no backfill is of and that are not in force.

    Raises
    ------
    StoreError
        If the current snapshot, the recorded catalogue or a manifest of another version cannot be
        read: then nothing can be said of what is needed.
    """
    snapshots, removed = _sort_snapshots(layout, keep)
    needs = also_needed or AlsoNeeded()
    kept = [entry for entry in snapshots if entry.number not in removed]
    gone = [entry for entry in snapshots if entry.number in removed]
    wanted = _Wanted(layout, kept, needs)
    retired = _noted(layout) | {name for entry in gone for name in _names_of(entry)}
    retired -= wanted.generations | wanted.fingerprints
    if not with_models:  # then those stay that were never published: they may be promoted yet
        wanted.add_generations(set(list_generations(layout)) - retired)
    unneeded = [*wanted.unneeded_files(), *wanted.unneeded_partitions()]
    if with_models:
        unneeded += _others(layout.models_root, wanted.generations, "model")
    removals = [
        *(_removal(layout, layout.snapshot_path(number), "snapshot") for number in removed),
        *(_removal(layout, path, kind) for path, kind in unneeded),
    ]
    numbers = tuple(entry.number for entry in kept)
    return Collection(numbers, tuple(removed), tuple(removals), frozenset(retired))


def _sort_snapshots(layout: StoreLayout, keep: int) -> tuple[list[Snapshot], list[int]]:
    """Read all snapshots that can be read; name those that go, oldest first."""
    current = current_snapshot(layout)
    snapshots, damaged = [], []
    for number in list_snapshots(layout):
        try:
            snapshots.append(read_snapshot(layout, number))
        except DamagedArtefactError:
            damaged.append(number)  # nothing can be done with it: its files are nobody's
    stays = {entry.number for entry in snapshots[max(0, len(snapshots) - keep) :]}
    if current is not None:
        stays.add(current.number)
    goes = [entry.number for entry in snapshots if entry.number not in stays]
    return snapshots, sorted([*goes, *damaged])


def _names_of(snapshot: Snapshot) -> tuple[str, str]:
    return snapshot.generation, snapshot.feature_fingerprint


class _Wanted:
    """What kept snapshots list, and what else is needed."""

    def __init__(self, layout: StoreLayout, kept: list[Snapshot], needs: AlsoNeeded) -> None:
        self._layout = layout
        self._needs = needs
        self._digests = {snapshot.digest for snapshot in kept}
        self._listed = {layout.root / entry.path for snapshot in kept for entry in snapshot.files}
        self._folders = {path.parent for path in self._listed if path.name == RECEIPT_NAME}
        self._cards: dict[str, dict[str, Any]] = {}
        self.generations: set[str] = set()
        self.fingerprints = {entry.feature_fingerprint for entry in kept}
        self.fingerprints |= needs.fingerprints | needs.whole_fingerprints
        in_force = selected_generation(layout)
        self.add_generations(
            {entry.generation for entry in kept}
            | needs.whole_generations
            | (set() if in_force is None else {in_force})
        )

    def add_generations(self, generations: set[str]) -> None:
        """Want some generations, and the features that they read."""
        for generation in generations - self.generations:
            self.generations.add(generation)
            try:
                card = read_model_card(self._layout, generation)
            except StoreError:  # 'verify' says so; only what is listed is known to be of it
                continue
            self._cards[generation] = card
            self.fingerprints.add(card["feature_fingerprint"])

    def unneeded_files(self) -> Iterator[tuple[Path, str]]:
        """Give table parts and indexes that nobody lists, and notes about snapshots gone."""
        for folder in _folders(self._layout.root / "tables"):
            yield from self._unlisted(folder, "table part")
        yield from self._unlisted(self._layout.index_root, "index")
        for path in unneeded_health_records(self._layout, self._digests):
            yield path, "cache"

    def unneeded_partitions(self) -> Iterator[tuple[Path, str]]:
        """Give the features, descriptions and codes that nobody needs."""
        root = self._layout.root
        partitions: dict[str, set[str]] = {}
        for folder in _folders(root / "features"):
            partitions[folder.name] = self._features(folder)
            yield from _others(folder, partitions[folder.name], "features")
        for folder in _folders(root / "descriptions"):
            yield from _others(folder, self._described(folder, partitions), "descriptions")
        for folder in _folders(root / "encoded"):
            yield from _others(folder, self._encoded(folder, partitions), "codes")
        yield from self._caches({name for name, needed in partitions.items() if needed})

    def _unlisted(self, folder: Path, kind: str) -> Iterator[tuple[Path, str]]:
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path not in self._listed and _CONTENT_NAME.fullmatch(path.name):
                    yield path, kind

    def _caches(self, fingerprints: set[str]) -> Iterator[tuple[Path, str]]:
        """Give what was kept of features of which nothing stays."""
        for path_of in (self._layout.facts_cache_path, self._layout.failures_cache_path):
            prefix, suffix = path_of("*").name.split("*")
            for path in sorted(self._layout.work_root.glob(path_of("*").name)):
                fingerprint = path.name.removeprefix(prefix).removesuffix(suffix)
                if fingerprint not in fingerprints | self.fingerprints:
                    yield path, "cache"

    def _features(self, root: Path) -> set[str]:
        listed = {folder.name for folder in self._folders if folder.parent == root}
        if root.name in self._needs.whole_fingerprints:
            return {folder.name for folder in _folders(root)}
        if root.name not in self.fingerprints:
            return listed
        return needed_partitions(self._layout, root.name, listed)

    def _described(self, root: Path, partitions: dict[str, set[str]]) -> set[str]:
        fingerprint, _, description = root.name.partition("-")
        read = {card.get("description_fingerprint") for card in self._cards.values()}
        is_read = description in read | {description_fingerprint()}
        return partitions.get(fingerprint, set()) if is_read else set()

    def _encoded(self, root: Path, partitions: dict[str, set[str]]) -> set[str]:
        listed = {folder.name for folder in self._folders if folder.parent == root}
        if root.name in self._needs.whole_generations:
            return {folder.name for folder in _folders(root)}
        if root.name not in self.generations or root.name not in self._cards:
            return listed
        return listed | partitions.get(self._cards[root.name]["feature_fingerprint"], set())


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")


def _others(root: Path, needed: set[str], kind: str) -> Iterator[tuple[Path, str]]:
    for folder in _folders(root):
        if folder.name not in needed:
            yield folder, kind


def _removal(layout: StoreLayout, path: Path, kind: str) -> Removal:
    return Removal(layout.relative(path), kind, _size_of(path))


def _size_of(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size if path.is_file() else 0
    return sum(inner.stat().st_size for inner in path.rglob("*") if inner.is_file())


def measure_leftovers(layout: StoreLayout) -> tuple[int, int]:
    """Count what killed writers left, and its bytes; a living writer's work looks the same."""
    count = n_bytes = 0
    for folder, names, files in os.walk(layout.root):
        for name in [entry for entry in (*names, *files) if entry.startswith(LEFTOVER_PREFIX)]:
            count += 1
            n_bytes += _size_of(Path(folder, name))
        names[:] = [name for name in names if not name.startswith(LEFTOVER_PREFIX)]
    return count, n_bytes


def collect(
    layout: StoreLayout,
    collection: Collection,
    *,
    is_alone: bool,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Remove what a plan says; the store's lock must be held since before the plan was made.

    Parameters
    ----------
    is_alone : bool
        Whether no backfill works beside; else folders that are left empty stay, because it may be
        about to put a partition there.
    on_progress : callable, optional
        Called with the number of things removed and of all.
    """
    note = layout.garbage_note_path
    if collection.retired:
        write_json(note, {"retired": sorted(collection.retired)})
    n_manifests = len(collection.removed)
    total = len(collection.removals)
    for count, removal in enumerate(collection.removals, start=1):
        path = layout.root / removal.path
        if path.is_dir():
            remove_folder(path)
        else:
            path.unlink(missing_ok=True)
        if count == n_manifests:
            fsync_path(layout.snapshots_root)  # before any file that they list goes
        if on_progress is not None:
            on_progress(count, total)
    if is_alone:
        _remove_empty_folders(layout)
    if note.exists():
        note.unlink()
        fsync_path(note.parent)


def _remove_empty_folders(layout: StoreLayout) -> None:
    for name in ("features", "descriptions", "encoded"):
        for folder in _folders(layout.root / name):
            if not any(folder.iterdir()):
                folder.rmdir()


def _noted(layout: StoreLayout) -> set[str]:
    """Read what a killed collection had retired already."""
    try:
        return set(read_json(layout.garbage_note_path).get("retired", []))
    except (ArtefactMissingError, DamagedArtefactError):
        return set()
