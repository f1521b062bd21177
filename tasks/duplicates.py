"""Near-duplicates of the published catalogue: what is proposed, and what evidence shows of it.

Landmarks of sound, codes of tracks and codes of windows propose pairs.

Nothing is merged or removed: what is found is written down, for people and programs to judge.
Fingerprints are kept per partition and compared pairs per snapshot (``work/duplicates``), so that
asking again costs next to nothing, and asking after a night what the night added.

Public: `find_duplicates`, `DuplicateOptions`, `Duplicates`, `open_shelf`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from musichash_core.config import PipelineConfig
from musichash_core.errors import ParameterError
from musichash_core.recording_match import FingerprintPlan, join_pairs
from storage.duplicate_pairs import KeptPairs, read_pairs, write_pairs
from storage.indexes import HashIndex
from storage.layout import StoreLayout
from storage.published import read_table, require_snapshot
from storage.snapshots import Snapshot
from storage.store import check_not_fetched, open_store
from tasks.duplicates_chromaprint import (
    add_chromaprint,
    check_chromaprint,
    count_compared,
    heed_chromaprint,
)
from tasks.duplicates_evidence import compare_pairs, read_tracks
from tasks.duplicates_fingerprints import FingerprintShelf, make_fingerprints, plan_of
from tasks.duplicates_kept import evidence_name, newly_published, settings_name, still_true
from tasks.duplicates_proposals import (
    CodedTracks,
    join_proposals,
    propose_again,
    propose_by_codes,
    propose_by_landmarks,
)
from tasks.duplicates_windows import propose_by_windows, read_windows

DEFAULT_RADIUS_SHARE = 0.1
"""Of the bits of a code: MP3 and Ogg change 3 %, and less than this in 19 of 20 tracks."""

MAX_PER_TRACK = 1000

NOT_ASKED = ("codes_not_asked", "windows_not_asked")

OnProgress = Callable[[str, int, int], None]
"""Told the step, and how many of how many of its units are done."""


@dataclass(frozen=True, slots=True)
class DuplicateOptions:
    """What to propose.

    Attributes
    ----------
    radius : int or None
        Bits that the codes of a proposed pair may differ by; a tenth of the code by default.
    per_track : int
        Pairs proposed per track and source, 1 to 1000; more are cut off, and counted.
    is_fresh : bool
        Compare all pairs again, whatever is known of them.
    with_chromaprint : bool
        Decode the files of likely pairs again and ask Chromaprint; what it said is kept.
    """

    radius: int | None = None
    per_track: int = 20
    is_fresh: bool = False
    with_chromaprint: bool = False


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What was found in one snapshot.

    Attributes
    ----------
    layout : StoreLayout
    snapshot : Snapshot
    plan : FingerprintPlan
        How fingerprints were made.
    counts : dict
        Tracks looked at, pairs proposed by each source, what was cut off or could not be read.
    pairs : pyarrow.Table
        `storage.duplicate_pairs.PAIRS`: every proposed pair with its evidence.
    groups : list of list of str
        Tracks that pairs of the tier same-recording join, by id.
    places : dict
        Track -> its locations, for the tracks that lie in several places: tier exact.
    """

    layout: StoreLayout
    snapshot: Snapshot
    plan: FingerprintPlan
    counts: dict[str, int]
    pairs: pa.Table
    groups: list[list[str]] = field(default_factory=list)
    places: dict[str, list[str]] = field(default_factory=dict)

    def tier_counts(self) -> dict[str, int]:
        """Count the pairs of each tier; of exact, the tracks in several places."""
        found = {"exact": len(self.places), "same-recording": 0, "likely-same": 0}
        found["similar-only"] = 0
        for entry in pc.value_counts(self.pairs["tier"]).to_pylist():
            found[entry["values"]] = entry["counts"]
        return found


def find_duplicates(
    store: str,
    config: PipelineConfig,
    options: DuplicateOptions | None = None,
    *,
    on_progress: OnProgress | None = None,
) -> Duplicates:
    """Find the near-duplicates of the published snapshot.

    Parameters
    ----------
    config : PipelineConfig
        Settings of the run: fingerprints read its features.

    Raises
    ------
    ArtefactMissingError
        If the store is none, or has published nothing.
    ChromaprintMissingError
        If Chromaprint is asked for and not installed.
    FingerprintMismatchError
        If the features were made with other settings.
    ParameterError
        If an option is out of its range, or the features are too coarse.
    StoreError
        If the store cannot be read or written.
    """
    options = options or DuplicateOptions()
    if not 1 <= options.per_track <= MAX_PER_TRACK:
        raise ParameterError(f"{options.per_track} pairs per track: ask for 1 to {MAX_PER_TRACK}")
    if options.with_chromaprint:
        check_chromaprint()
    layout = open_store(store)
    snapshot = require_snapshot(layout)
    plan = plan_of(snapshot, config)
    told = _told(on_progress)
    kept = None if options.is_fresh else read_pairs(layout)
    settings = settings_name(snapshot, radius=options.radius, per_track=options.per_track)
    if kept is None or (kept.digest, kept.settings) != (snapshot.digest, settings):
        check_not_fetched(layout)
        counts, pairs = _compare_snapshot(layout, snapshot, plan, options, kept, told)
        evidence = evidence_name(snapshot)
        kept = KeptPairs(snapshot.digest, settings, evidence, counts, pairs, snapshot.number)
        write_pairs(layout, kept)
    counts = kept.counts
    if options.with_chromaprint:
        pairs = add_chromaprint(
            layout, snapshot, kept.pairs, config, on_progress=told("chromaprint")
        )
        kept = replace(kept, pairs=pairs)
        write_pairs(layout, kept)
        counts = kept.counts | count_compared(pairs)
    pairs = heed_chromaprint(kept.pairs)
    return Duplicates(
        layout,
        snapshot,
        plan,
        counts,
        pairs,
        _groups(pairs),
        _several_places(read_table(layout, snapshot, "tracks", columns=["track_id", "locations"])),
    )


def open_shelf(found: Duplicates) -> tuple[FingerprintShelf, dict[str, int]]:
    """Open the fingerprints of a snapshot whose duplicates were found; give the row of each track.

    Raises
    ------
    StoreError
        If they cannot be read.
    """
    made = make_fingerprints(found.layout, found.snapshot, found.plan)
    rows = _rows(read_table(found.layout, found.snapshot, "codes", columns=["track_id"]))
    fingerprint = found.snapshot.feature_fingerprint
    return FingerprintShelf(found.layout, fingerprint, made.partition_ids, rows), rows


def _rows(codes: pa.Table) -> dict[str, int]:
    return {track_id: row for row, track_id in enumerate(codes["track_id"].to_pylist())}


def _told(on_progress: OnProgress | None) -> Callable[[str], Callable[[int, int], None]]:
    """Give, for each step, what it calls."""

    def of_step(step: str) -> Callable[[int, int], None]:
        def tell(n_done: int, total: int) -> None:
            if on_progress is not None:
                on_progress(step, n_done, total)

        return tell

    return of_step


def _compare_snapshot(
    layout: StoreLayout,
    snapshot: Snapshot,
    plan: FingerprintPlan,
    options: DuplicateOptions,
    before: KeptPairs | None,
    told: Callable[[str], Callable[[int, int], None]],
) -> tuple[dict[str, int], pa.Table]:
    """Make the fingerprints that are missing, propose pairs and compare those that are new."""
    made = make_fingerprints(layout, snapshot, plan, on_progress=told("fingerprint"))
    tracks = read_tracks(layout, snapshot)
    rows = {track_id: row for row, track_id in enumerate(tracks.track_ids)}
    shelf = FingerprintShelf(layout, snapshot.feature_fingerprint, made.partition_ids, rows)
    known = still_true(before, snapshot)
    radius = options.radius
    is_new = newly_published(layout, snapshot, before, tracks.track_ids)
    sources = {
        "landmarks": propose_by_landmarks(
            shelf, per_track=options.per_track, on_progress=told("landmarks")
        ),
        "codes": propose_by_codes(
            HashIndex.load(layout, snapshot),
            CodedTracks(tracks.packed, tracks.logits, tracks.duration_s, is_new),
            radius=round(DEFAULT_RADIUS_SHARE * tracks.n_bits) if radius is None else radius,
            per_track=options.per_track,
            on_progress=told("codes"),
        ),
        "windows": propose_by_windows(
            read_windows(layout, snapshot),
            is_new,
            per_track=options.per_track,
            on_progress=told("windows"),
        ),
    }
    if known is not None and any(
        some.counts.get(name) for some in sources.values() for name in NOT_ASKED
    ):  # what an earlier night found from tracks that are not asked for now
        sources["before"] = propose_again(known, tracks.track_ids)
    proposals = join_proposals(**sources)
    pairs = compare_pairs(tracks, proposals, shelf, plan, before=known, on_progress=told("compare"))
    counts = {
        "tracks": snapshot.counts["tracks"],
        "compared_tracks": len(tracks.track_ids),
        "tracks_without_fingerprint": int((shelf.partition_of_row < 0).sum()),
        "unreadable_partitions": len(made.unreadable),
        **proposals.counts,
    }
    return counts, pairs


def _groups(pairs: pa.Table) -> list[list[str]]:
    """Join the tracks of pairs of the tier same-recording."""
    same = pairs.filter(pc.equal(pairs["tier"], "same-recording"))
    ids = sorted({*same["first_id"].to_pylist(), *same["second_id"].to_pylist()})
    numbers = pa.array(ids, pa.string())
    ends = [
        pc.index_in(same[name], value_set=numbers).to_numpy() for name in ("first_id", "second_id")
    ]
    joined = join_pairs(np.stack(ends, axis=1).astype(np.int64), len(ids))
    return [[ids[member] for member in group.tolist()] for group in joined]


def _several_places(tracks: pa.Table) -> dict[str, list[str]]:
    several = tracks.filter(pc.greater(pc.list_value_length(tracks["locations"]), 1))
    return dict(zip(several["track_id"].to_pylist(), several["locations"].to_pylist(), strict=True))
