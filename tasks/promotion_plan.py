"""What a model generation still lacks to be promoted, and which one was in force before.

Public: `plan_promotion`, `plan_for`, `PromotionPlan`, `check_complete`, `generation_before`,
`ok_tracks`, `IncompleteGenerationError`, `NoGenerationBeforeError`.
"""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from musichash_core.errors import MusicHashError
from storage.extracted import read_extracted
from storage.feature_store import FeaturePartition
from storage.generations import find_generation, list_generations, read_model_card
from storage.layout import RECEIPT_NAME, StoreLayout
from storage.published import read_table, require_snapshot
from storage.receipts import finished_partitions
from storage.runs import read_runs
from storage.snapshots import Snapshot, list_snapshots, read_snapshot
from storage.store import open_store


class IncompleteGenerationError(MusicHashError):
    """Published tracks have no codes of the generation yet; nothing is published."""


class NoGenerationBeforeError(MusicHashError):
    """No earlier snapshot is of another generation."""

    is_wrong_input = True


@dataclass(frozen=True, slots=True)
class PromotionPlan:
    """What a generation has of the published tracks.

    Attributes
    ----------
    generation : str
        The one to promote.
    before : str
        That of the current snapshot.
    feature_fingerprint : str
        Of the features that the generation reads.
    snapshot : int
        The current one.
    n_tracks : int
        Published tracks that need codes.
    n_unencoded : int
        Those whose partition has no codes of the generation.
    n_unextracted : int
        Those without features that the generation reads.
    partition_ids : tuple of str
        Feature partitions that hold the tracks.
    to_describe, to_encode : tuple of str
        Partitions without descriptions that the generation reads, and without codes of it.
    """

    generation: str
    before: str
    feature_fingerprint: str
    snapshot: int
    n_tracks: int
    n_unencoded: int
    n_unextracted: int
    partition_ids: tuple[str, ...]
    to_describe: tuple[str, ...]
    to_encode: tuple[str, ...]

    @property
    def is_done(self) -> bool:
        """Whether the generation is published already."""
        return self.generation == self.before


def plan_promotion(store: str, generation: str) -> PromotionPlan:
    """Look what a generation has of the published tracks; writes nothing.

    Parameters
    ----------
    generation : str
        Its name, or the beginning of it.

    Raises
    ------
    UnknownGenerationError
        If the store has no such generation.
    ArtefactMissingError
        If nothing has been published yet.
    """
    layout = open_store(store)
    return plan_for(layout, require_snapshot(layout), find_generation(layout, generation))


def plan_for(layout: StoreLayout, snapshot: Snapshot, generation: str) -> PromotionPlan:
    """Look what a generation has of the tracks of a snapshot."""
    card = read_model_card(layout, generation)
    fingerprint = card["feature_fingerprint"]
    needed = set(ok_tracks(read_table(layout, snapshot, "tracks"))["track_id"].to_pylist())
    encoded = set(finished_partitions(layout.encoded_root(generation)))
    tracks_of = _tracks_of_partitions(layout, snapshot, fingerprint, needed, encoded)
    to_encode = tuple(name for name in sorted(tracks_of) if name not in encoded)
    to_describe: tuple[str, ...] = ()
    if (description := card.get("description_fingerprint")) is not None:
        described = set(finished_partitions(layout.descriptions_root(fingerprint, description)))
        to_describe = tuple(name for name in to_encode if name not in described)
    return PromotionPlan(
        generation=generation,
        before=snapshot.generation,
        feature_fingerprint=fingerprint,
        snapshot=snapshot.number,
        n_tracks=len(needed),
        n_unencoded=sum(len(tracks_of[name]) for name in to_encode),
        n_unextracted=len(needed) - sum(map(len, tracks_of.values())),
        partition_ids=tuple(sorted(tracks_of)),
        to_describe=to_describe,
        to_encode=to_encode,
    )


def ok_tracks(tracks: pa.Table) -> pa.Table:
    """Keep the published tracks that have features, and so codes."""
    return tracks.filter(pc.equal(tracks["status"], "ok"))


def _tracks_of_partitions(
    layout: StoreLayout,
    snapshot: Snapshot,
    fingerprint: str,
    needed: set[str],
    encoded: set[str],
) -> dict[str, list[str]]:
    """Find the partition of each track: where it can be, one that the snapshot lists.

    Where that one is not encoded, another that has the track and is encoded takes its place.
    """
    places: dict[str, str] = {}
    if fingerprint == snapshot.feature_fingerprint:
        root = layout.features_root(fingerprint)
        listed = [layout.root / entry.path for entry in snapshot.files]
        folders = [path.parent for path in listed if path.name == RECEIPT_NAME]
        places = {
            track_id: folder.name
            for folder in sorted(folders, reverse=True)  # the first of several is kept
            if folder.parent == root
            for track_id in FeaturePartition(folder).facts()["track_id"].to_pylist()
        }
    if not needed <= {track_id for track_id, name in places.items() if name in encoded}:
        facts = read_extracted(layout, fingerprint).facts_in(encoded)
        columns = (facts[name].to_pylist() for name in ("track_id", "partition_id"))
        for track_id, name in zip(*columns, strict=True):
            if places.get(track_id) not in encoded and (name in encoded or track_id not in places):
                places[track_id] = name
    found: dict[str, list[str]] = {}
    for track_id in sorted(needed & places.keys()):
        found.setdefault(places[track_id], []).append(track_id)
    return found


def check_complete(plan: PromotionPlan) -> None:
    """Refuse a generation that some published track has no codes of.

    Raises
    ------
    IncompleteGenerationError
        With the numbers and the next step.
    """
    n_missing = plan.n_unencoded + plan.n_unextracted
    if not n_missing:
        return
    without = (
        f" ({plan.n_unextracted} of them have no features {plan.feature_fingerprint}, which it "
        "reads)"
        if plan.n_unextracted
        else ""
    )
    raise IncompleteGenerationError(
        f"{n_missing} of the {plan.n_tracks} tracks of snapshot {plan.snapshot} have no codes of "
        f"{plan.generation}{without}; nothing is published, {plan.before} stays: "
        f"'musichash backfill --model {plan.generation}' computes them"
    )


def generation_before(store: str) -> str:
    """Name the generation that was published before the present one.

    Raises
    ------
    NoGenerationBeforeError
        If no snapshot that is kept is of another one.
    """
    layout = open_store(store)
    current = require_snapshot(layout)
    # A manifest whose publishing was killed was never before a reader: no run ended with it.
    ended_with = {record.snapshot for record in read_runs(layout)} - {None}
    for number in reversed(list_snapshots(layout)):
        if number >= current.number or (ended_with and number not in ended_with):
            continue
        generation = read_snapshot(layout, number).generation
        if generation != current.generation:
            return generation
    others = [name for name in list_generations(layout) if name != current.generation]
    raise NoGenerationBeforeError(
        f"no snapshot before {current.number} that is kept is of another model than "
        f"{current.generation}; name one to 'musichash models promote': "
        f"{', '.join(others) or 'the store has no other'}"
    )
