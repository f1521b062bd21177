"""What a store must hold, in dicts and sets: nothing here knows how a store works.

A place is a root and a path below it. A row is what the tables must say of one track: its identity,
its places, its label, and the code of its failure, or None.

Public: `Row`, `Published`, `rows_of`, `why_refused`, `publishes_nothing`, `Model`.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

KEPT_SHARE = 0.5
FAILED_SHARE = 0.5


class Row(NamedTuple):
    """What is published of one track."""

    track_id: str
    locations: tuple[str, ...]
    root: str
    label: str | None
    code: str | None


class Published(NamedTuple):
    """The content of a snapshot."""

    rows: frozenset[Row]
    generation: str

    @property
    def ok_ids(self):
        """Tracks that have codes."""
        return {row.track_id for row in self.rows if row.code is None}

    @property
    def ids(self):
        """All tracks."""
        return {row.track_id for row in self.rows}


def rows_of(places):
    """Give the rows of a catalogue: ``{(root, path): (content, label)}``."""
    by_track = {}
    for place in sorted(places):
        by_track.setdefault(places[place][0].track_id, []).append(place)
    return frozenset(
        Row(
            track_id,
            tuple(f"{root}/{path}" for root, path in where),
            root=where[0][0],
            label=next((places[place][1] for place in where if places[place][1]), None),
            code=places[where[0]][0].code,
        )
        for track_id, where in by_track.items()
    )


def is_refused(published, places):
    """Tell whether too much of a root is lost: nothing of it is left, or less than the share."""
    ids = {content.track_id for content, _ in places.values()}
    taken = {f"{root}/{path}" for root, path in places}
    of_root = {}
    for row in published.rows:
        is_lost = row.track_id not in ids and taken.isdisjoint(row.locations)
        of_root.setdefault(row.root, []).append(not is_lost)
    return any(sum(kept) == 0 or sum(kept) < KEPT_SHARE * len(kept) for kept in of_root.values())


def fails_too_often(rows):
    """Tell whether more of the tracks are bad than a run accepts."""
    n_failed = sum(row.code is not None for row in rows)
    return n_failed == len(rows) or n_failed > FAILED_SHARE * len(rows)


@dataclass
class Model:
    """A store as its owner understands it.

    Attributes
    ----------
    snapshots : dict
        Number -> what it holds.
    current : int
        The one that readers see.
    were_current : set of int
        Those that readers have seen.
    recorded : list of dict
        What the last scan found, as places; several where a kill leaves it open.
    extracted : set of str
        Tracks that need not be decoded again; perhaps there are more.
    coded : dict
        Generation -> tracks that certainly have codes of it.
    is_registered : bool
        Whether every run scans the collection.
    """

    snapshots: dict[int, Published]
    current: int
    recorded: list[dict]
    were_current: set[int] = field(default_factory=set)
    extracted: set[str] = field(default_factory=set)
    coded: dict[str, set[str]] = field(default_factory=dict)
    is_registered: bool = False

    @property
    def published(self):
        """What readers see."""
        return self.snapshots[self.current]

    def generation_before(self):
        """Give the newest other generation that readers saw before the present one, or None."""
        for number in sorted(self.snapshots, reverse=True):
            if number < self.current and number in self.were_current:
                generation = self.snapshots[number].generation
                if generation != self.published.generation:
                    return generation
        return None

    def collect(self, keep, *, is_all_needed, generations_needed):
        """Forget what a garbage collection may remove; give the snapshots that stay."""
        kept = {*sorted(self.snapshots)[-keep:], self.current}
        stays = [self.snapshots[number] for number in kept]
        needed = set.intersection(
            *({content.track_id for content, _ in places.values()} for places in self.recorded)
        )
        needed |= {track_id for published in stays for track_id in published.ok_ids}
        if not is_all_needed:
            self.extracted &= needed
        in_use = {published.generation for published in stays} | generations_needed
        retired = {published.generation for published in self.snapshots.values()} - in_use
        for generation in self.coded:
            self.coded[generation] &= set() if generation in retired else needed
        return kept
