"""Find similar tracks: by a track of the catalogue, by any audio file, or by a code.

A service opens a catalogue once and asks it from any thread; each answer is of one snapshot,
wholly, and of the current one::

    from tasks.search import Filters, Reach, open_catalogue

    with open_catalogue("music.store") as catalogue:
        answer = catalogue.search_track("jazz/take5.ogg", Reach(k=5))
        jazz = Filters(genres=("jazz",), years=(1955, 1965))
        answer = catalogue.search_file("excerpt.wav", Reach(k=50, radius=12), jazz)
        for match in answer.matches:
            print(match.distance, match.path)
        found = catalogue.nearest_to_tracks(track_ids, Reach(k=10))  # ids and distances alone

Public: `open_catalogue`, `PublishedCatalogue`, `search_track`, `search_file`, `Answer`, `Match`,
`Reach`, `Filters`, `Found`, `NoCodesError`, `UnknownTrackError`, `UnknownFilterError`.
"""

from typing import TYPE_CHECKING

from storage.row_filters import Filters, UnknownFilterError
from storage.search_terms import Reach
from storage.served_catalogue import CACHE_BYTES, ServedCatalogue
from storage.store import open_store
from storage.track_names import UnknownTrackError
from tasks.search_answers import Answer, Match
from tasks.search_asking import Compared
from tasks.search_catalogue import Found, NoCodesError, PublishedCatalogue

if TYPE_CHECKING:  # importing it loads what features are made with
    from musichash_core.config import PipelineConfig

__all__ = [
    "Answer",
    "Filters",
    "Found",
    "Match",
    "NoCodesError",
    "PublishedCatalogue",
    "Reach",
    "UnknownFilterError",
    "UnknownTrackError",
    "open_catalogue",
    "search_file",
    "search_track",
]


def open_catalogue(
    store: str,
    config: "PipelineConfig | None" = None,
    *,
    look_every_s: float = 0.0,
    cache_bytes: int = CACHE_BYTES,
) -> PublishedCatalogue:
    """Open the published catalogue of a store for questions.

    Parameters
    ----------
    config : PipelineConfig, optional
        Settings that the features of files are made with; by default the usual ones.
    look_every_s : >= 0
        Seconds that may pass before a new snapshot is noticed; by default none.
    cache_bytes : int
        Most bytes of decoded tables that are kept; the index and 24 bytes a track come on top.

    Returns
    -------
    PublishedCatalogue
        A context manager.

    Raises
    ------
    ArtefactMissingError
        If the store is none, or has published nothing.
    DamagedArtefactError
        If what is published is not in order.
    """
    layout = open_store(store)
    served = ServedCatalogue(layout, look_every_s=look_every_s, cache_bytes=cache_bytes)
    return PublishedCatalogue(store, served, config)


def search_track(
    store: str,
    name: str,
    *,
    k: int = 10,
) -> Answer:
    """Ask one question of a store; see `PublishedCatalogue.search_track`."""
    reach = Reach(k)
    with open_catalogue(store) as catalogue:
        return catalogue.search_track(name, reach)


def search_file(
    store: str,
    path: str,
    config: "PipelineConfig",
    *,
    k: int = 10,
    by: Compared = "auto",
) -> Answer:
    """Ask one question of a store; see `PublishedCatalogue.search_file`."""
    reach = Reach(k)
    with open_catalogue(store, config) as catalogue:
        return catalogue.search_file(path, reach, by=by)
