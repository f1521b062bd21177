"""Score one set of track logits on every database that METHOD 7 asks for.

Public: `DATABASES`, `answerable_databases`, `score_logits`, `encoded_positions`,
`mapped_positions`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from musichash_core.codes import logits_to_codes
from musichash_core.errors import TrainingError
from musichash_core.evaluation.code_report import report_codes
from musichash_core.evaluation.rankings import Ranking, cosine_ranking, hamming_ranking
from musichash_core.evaluation.retrieval import RetrievalScores, score_ranking
from tasks.evaluation_tracks import EvaluationTracks

DATABASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "held": ("query", ("db",)),
    "train": ("query", ("train",)),
    "unseen": ("unseen_query", ("unseen_db",)),
    "unseen-all": ("unseen_query", ("unseen_db", "db")),
}
"""Name -> side of the queries and sides of the items. ``held`` is what counts; ``train`` is the
literature's convention and flatters; the last two ask for genres that nobody was trained on."""

CURVE_POINTS = 24
"""Ranks at which precision and recall are drawn."""

MAP_DIGITS = 4


def encoded_positions(found: EvaluationTracks) -> NDArray[np.int64]:
    """Give the positions of all tracks that are asked for, searched or fitted on, ascending."""
    sides = {side for query, items in DATABASES.values() for side in (query, *items)}
    return found.divided.positions(*sides)


def mapped_positions(found: EvaluationTracks) -> NDArray[np.int64]:
    """Give the positions of the tracks that the map of the code space shows, ascending."""
    return found.divided.positions("db", "unseen_db")


def answerable_databases(found: EvaluationTracks) -> tuple[str, ...]:
    """Name the databases in which some query has something to find outside its own group.

    One genre alone is no database: everything in it would be right.

    Raises
    ------
    TrainingError
        ``held`` is not one of them, so the evaluation has no primary column.
    """
    names = []
    for name, (query_side, item_sides) in DATABASES.items():
        queries = found.divided.positions(query_side)
        items = found.divided.positions(*item_sides)
        n_genres = len({found.labels[place] for place in items})
        if n_genres > 1 and _is_answerable(found, queries, items):
            names.append(name)
    if "held" not in names:
        raise TrainingError(
            "no query has a track of its genre and another group in the database; every genre "
            "needs four groups (artists) or more to be on all sides"
        )
    return tuple(names)


def score_logits(
    found: EvaluationTracks,
    positions: NDArray[np.int64],
    logits: NDArray[np.floating],
    databases: tuple[str, ...],
    *,
    is_binary: bool,
) -> dict[str, Any]:
    """Score the logits of the tracks at `positions`; plain numbers, ready for JSON.

    Parameters
    ----------
    positions : (n,) int64
        Ascending; all sides of the databases among them.
    logits : (n, n_bits) float
    is_binary : bool
        Whether signs are codes; otherwise vectors to be ranked by cosine.

    Returns
    -------
    dict
        ``databases``: by name, ``figures``, ``average_precision`` of every query (None where there
        is nothing to find) and ``curve``; ``map``: two coordinates of `mapped_positions`.
    """
    scored = {}
    for name in databases:
        query_side, item_sides = DATABASES[name]
        queries = found.divided.positions(query_side)
        items = found.divided.positions(*item_sides)
        query_rows = np.searchsorted(positions, queries)
        item_rows = np.searchsorted(positions, items)
        judged = found.judged(queries), found.judged(items)
        if is_binary:
            report = report_codes(logits[query_rows], logits[item_rows], *judged)
            figures, scores = report.figures(), report.hamming
            codes = logits_to_codes(logits[query_rows]), logits_to_codes(logits[item_rows])
            ranking: Ranking = hamming_ranking(*codes)
        else:
            ranking = cosine_ranking(logits[query_rows], logits[item_rows])
            scores = score_ranking(ranking, *judged)
            figures = scores.figures() | {"n_items": float(len(items))}
        ranks = np.unique(np.rint(np.geomspace(1, len(items), CURVE_POINTS))).astype(int)
        curve = score_ranking(ranking, *judged, ranks=tuple(int(rank) for rank in ranks))
        scored[name] = {
            "figures": figures,
            "average_precision": [
                None if np.isnan(value) else float(value) for value in scores.average_precision
            ],
            "curve": _curve(curve),
        }
    shown = np.searchsorted(positions, mapped_positions(found))
    return {"databases": scored, "map": _principal_plane(logits[shown]).tolist()}


def _is_answerable(
    found: EvaluationTracks, queries: NDArray[np.int64], items: NDArray[np.int64]
) -> bool:
    groups_of: dict[str, set[str]] = {}
    for place in items:
        groups_of.setdefault(found.labels[place], set()).add(found.groups[place])
    return any(
        groups_of.get(found.labels[place], set()) - {found.groups[place]} for place in queries
    )


def _curve(scores: RetrievalScores) -> dict[str, list[float]]:
    """Average precision and recall at every rank over the queries."""
    return {
        "precision": np.nanmean(scores.precision_at, axis=0).tolist(),
        "recall": np.nanmean(scores.recall_at(), axis=0).tolist(),
    }


def _principal_plane(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Project onto the two directions of most variance, ``(n, 2)``, scaled to the largest."""
    values = np.asarray(logits, dtype=np.float64)
    centred = values - values.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((len(values), 2))
    for axis, direction in enumerate(directions[:2]):
        # A direction and its opposite are the same to the decomposition, not to a reader.
        sign = np.sign(direction[np.abs(direction).argmax()])
        plane[:, axis] = centred @ direction * sign
    largest = np.abs(plane).max()
    return np.round(plane / largest if largest > 0 else plane, MAP_DIGITS)
