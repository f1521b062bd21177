"""What a search answers: ranked tracks with what is known of them, and why they were found.

Public: `Answer`, `Match`, `answer_of`, `explain`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musichash_core.codes import unpack_bits
from storage.row_filters import Filters
from storage.search_terms import Hits, Query, Reach
from storage.served_snapshot import ServedSnapshot

UNSURE_LOGIT = 0.5
"""A logit nearer to zero than this is one whose bit a little noise turns over."""

YEARS_APART = 1
"""Years that tags may differ by and still say the same: releases are dated now so, now so."""

SHARED_TEXTS = {"genre": "genre", "label": "label", "artist": "tag_artist", "album": "tag_album"}


@dataclass(frozen=True, slots=True)
class Match:
    """One ranked answer.

    Attributes
    ----------
    rank : int
        From 1.
    track_id : str
        Identity.
    distance : int
        Hamming distance, bits.
    asymmetric : float or None
        Asymmetric distance, which orders what has the same Hamming distance: ``-n_bits`` (nearest)
        to ``n_bits``. None of a query that is a code alone.
    genre : str
        Predicted genre.
    probability : float
        Its probability.
    label : str or None
        Given label.
    title, artist, album : str or None
        As the file's tags say.
    year : int or None
        As the file's tags say.
    duration_s : float
        Length, seconds.
    path : str
        First location, with its catalogue root.
    starts_s : float or None
        Of what was found by segments: the second of the track at which the excerpt begins, to some
        2.5 s, or of a longer query its nearest window.
    window_distance : float or None
        Of what was found by segments: mean over the query's windows of the Hamming distance to the
        nearest window of the track, bits.
    why : dict or None
        See `explain`; where it was asked for.
    """

    rank: int
    track_id: str
    distance: int
    asymmetric: float | None
    genre: str
    probability: float
    label: str | None
    title: str | None
    artist: str | None
    album: str | None
    year: int | None
    duration_s: float
    path: str
    starts_s: float | None = None
    window_distance: float | None = None
    why: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search found.

    Attributes
    ----------
    query : str
        The track, file or code asked for.
    snapshot : int
        Snapshot that was searched.
    n_codes, n_bits : int
        Size of the index.
    matches : tuple of Match
        Best first.
    by : str
        What was compared: ``track`` (codes of whole tracks), ``segments`` (windows of ten seconds),
        or ``both``: what has the same sound comes first.
    k : int
        Most matches that were asked for.
    radius : int or None
        Greatest distance that was asked for.
    n_within : int or None
        How many lie in the radius, those beyond `k` too.
    filters : dict
        What matches had to have.
    n_selected : int
        Tracks that the filters left.
    is_exact : bool
        Whether nothing nearer can have been missed: an ivf index reads some of its lists only,
        unless filters say which codes to look at; and by several windows only those tracks are
        compared that one of the windows alone finds near, all where they are few.
    about : dict or None
        Of an explained search: what is known of the query.
    """

    query: str
    snapshot: int
    n_codes: int
    n_bits: int
    matches: tuple[Match, ...]
    by: str
    k: int
    radius: int | None
    n_within: int | None
    filters: dict[str, Any]
    n_selected: int
    is_exact: bool
    about: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return asdict(self)


def answer_of(
    served: ServedSnapshot,
    name: str,
    hits: Hits,
    *,
    reach: Reach,
    filters: Filters,
    asked: tuple[Query, dict[str, Any]] | None = None,
) -> Answer:
    """Bring together what was found for a query and what the tables say of it.

    Parameters
    ----------
    name : str
        What was asked for, as it was asked.
    asked : (Query, dict), optional
        The query and its facts (as `ServedSnapshot.facts` gives them), where the answer is to be
        explained; the facts of a code are empty.
    """
    by = "track" if hits.starts_s is None else "segments"
    if hits.starts_s is not None and np.isnan(hits.starts_s).any():
        by = "both"
    is_searched_exactly = served.index.is_exact or bool(filters)
    facts = served.facts(hits.rows, with_probabilities=asked is not None)
    whys: Sequence[dict[str, Any] | None] = [None] * len(facts)
    if asked is not None:
        whys = explain(served, *asked, hits.rows, facts)
    matches = tuple(
        _match(rank, hits, one, why)
        for rank, (one, why) in enumerate(zip(facts, whys, strict=True), 1)
    )
    return Answer(
        query=name,
        snapshot=served.snapshot.number,
        n_codes=served.n_codes,
        n_bits=8 * served.code_bytes,
        matches=matches,
        by=by,
        k=reach.k,
        radius=reach.radius,
        n_within=hits.n_within,
        filters=filters.as_dict(),
        n_selected=served.n_selected(filters),
        is_exact=hits.misses_none and (by == "segments" or is_searched_exactly),
        about=None if asked is None else _about(*asked),
    )


def _match(rank: int, hits: Hits, facts: dict[str, Any], why: dict[str, Any] | None) -> Match:
    at = rank - 1
    return Match(
        rank=rank,
        track_id=facts["track_id"],
        distance=int(hits.distances[at]),
        asymmetric=None if hits.asymmetric is None else round(float(hits.asymmetric[at]), 5),
        genre=facts["genre"],
        probability=round(facts["probability"], 4),
        label=facts["label"],
        title=facts["tag_title"],
        artist=facts["tag_artist"],
        album=facts["tag_album"],
        year=facts["tag_year"],
        duration_s=round(facts["duration_s"], 3),
        path=facts["locations"][0],
        starts_s=_known(hits.starts_s, at),
        window_distance=_known(hits.window_distances, at),
        why=why,
    )


def _known(values: NDArray[np.float64] | None, at: int) -> float | None:
    """Give a value that some matches have."""
    return None if values is None or np.isnan(values[at]) else round(float(values[at]), 2)


# --- why -----------------------------------------------------------------------------------------


def explain(
    served: ServedSnapshot,
    query: Query,
    about: dict[str, Any],
    rows: NDArray[np.int64],
    facts: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Say for each match of a query what speaks for it.

    Returns
    -------
    list of dict
        ``bits_differing`` (which bits of the codes of the whole tracks), ``bits_only_in_query`` and
        ``bits_only_in_match`` (how many are set in one alone), ``bits_unsure`` (how many of those
        that differ the query is not sure of; None of a code alone), ``probabilities`` (of all
        genres), and of a query of which more is known than its code: ``genre_overlap`` (what its
        genre probabilities and those of the match have in common, 0 to 1), ``shared`` (what both
        have: genre, label, artist, album, year), ``duration_difference_s``.
    """
    ours = unpack_bits(query.code)
    return [
        _of_bits(ours, theirs, query.logits)
        | {"probabilities": _rounded(one["probabilities"])}
        | (_of_facts(about, one) if about else {})
        for theirs, one in zip(unpack_bits(served.codes_of(rows)), facts, strict=True)
    ]


def _of_bits(
    ours: NDArray[np.bool_], theirs: NDArray[np.bool_], logits: NDArray[np.float32] | None
) -> dict[str, Any]:
    differs = ours != theirs
    unsure = None if logits is None else int((np.abs(logits[differs]) < UNSURE_LOGIT).sum())
    return {
        "bits_differing": np.flatnonzero(differs).tolist(),
        "bits_only_in_query": int((ours & ~theirs).sum()),
        "bits_only_in_match": int((theirs & ~ours).sum()),
        "bits_unsure": unsure,
    }


def _of_facts(about: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    ours, theirs = dict(about["probabilities"]), dict(facts["probabilities"])
    overlap = sum(min(share, theirs.get(genre, 0.0)) for genre, share in ours.items())
    shared: dict[str, Any] = {
        name: facts[column]
        for name, column in SHARED_TEXTS.items()
        if about[column] and facts[column] and _same(about[column], facts[column])
    }
    years = about["tag_year"], facts["tag_year"]
    if None not in years and abs(years[0] - years[1]) <= YEARS_APART:
        shared["year"] = years[1]
    return {
        "genre_overlap": round(min(1.0, overlap), 4),
        "shared": shared,
        "duration_difference_s": round(facts["duration_s"] - about["duration_s"], 3),
    }


def _same(ours: str, theirs: str) -> bool:
    return " ".join(ours.casefold().split()) == " ".join(theirs.casefold().split())


def _about(query: Query, about: dict[str, Any]) -> dict[str, Any]:
    """Give what is known of a query, for JSON."""
    known: dict[str, Any] = {"code": query.code.tobytes().hex()}
    if about:
        known |= {
            "track_id": about["track_id"],
            "path": about["locations"][0],
            "genre": about["genre"],
            "probability": round(about["probability"], 4),
            "probabilities": _rounded(about["probabilities"]),
            "label": about["label"],
            "title": about["tag_title"],
            "artist": about["tag_artist"],
            "album": about["tag_album"],
            "year": about["tag_year"],
            "duration_s": round(about["duration_s"], 3),
        }
    return known


def _rounded(probabilities: Sequence[tuple[str, float]]) -> dict[str, float]:
    return {genre: round(share, 4) for genre, share in probabilities}
