"""Tables of an evaluation: finished rows, their means over seeds, and which differences are clear.

Public: `Unit`, `Finished`, `retrieval_rows`, `recognition_rows`, `retrieval_comparisons`,
`recognition_comparisons`, `summarise`, `best_baseline`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from musichash_core.evaluation.bootstrap import bootstrap_difference, summarise_seeds
from storage.evaluation_schemas import RECOGNITION, RETRIEVAL
from tasks.evaluation_methods import (
    BASELINE_KEYS,
    DESCRIPTOR_HASH,
    DESCRIPTOR_NAME,
    HASH_NETWORKS,
)
from tasks.evaluation_scores import DATABASES
from tasks.evaluation_tracks import EvaluationTracks

REFERENCE = "crnnh"
"""What every method is compared with, beside the best baseline."""

COMPARED = ("held", "unseen")

CLASSICAL = "classical"
"""So unlike the other genres of the usual collections that it lifts every mean."""

WITHOUT_CLASSICAL = "macro_recall_without_classical"

REAL = "real"
"""The one method without a length; it stands beside the codes of every length."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of work: a method at one length with one seed.

    Attributes
    ----------
    task : "retrieval" or "recognition"
    method : str
    seed : int
    n_bits : int or None
    """

    task: Literal["retrieval", "recognition"]
    method: str
    seed: int
    n_bits: int | None = None

    @property
    def name(self) -> str:
        """Name of its row."""
        length = "" if self.n_bits is None else f"-{self.n_bits}bits"
        return f"{self.task}-{self.method}{length}-seed{self.seed}"


@dataclass(frozen=True, slots=True)
class Finished:
    """A unit and what came out.

    Attributes
    ----------
    unit : Unit
    content : dict
        From `tasks.evaluation_scores.score_logits` or
        `tasks.evaluation_recognition.recognition_row`.
    """

    unit: Unit
    content: dict[str, Any]


@dataclass(frozen=True, slots=True)
class MethodName:
    """How tables call a method."""

    name: str
    source: str
    is_supervised: bool


def retrieval_rows(
    finished: Sequence[Finished], names: dict[str, MethodName]
) -> list[dict[str, Any]]:
    """Give one row of `storage.evaluations.RETRIEVAL` per method, length, database and seed."""
    rows = []
    for one in finished:
        if one.unit.task != "retrieval":
            continue
        about = names[one.unit.method]
        for database, scored in one.content["databases"].items():
            row: dict[str, Any] = dict.fromkeys(RETRIEVAL.names)
            row |= {key: value for key, value in scored["figures"].items() if key in row}
            row |= {
                "method": one.unit.method,
                "name": about.name,
                "source": about.source,
                "is_supervised": about.is_supervised,
                "n_bits": one.unit.n_bits,
                "database": database,
                "seed": one.unit.seed,
            }
            for count in ("n_queries", "n_answered", "n_items"):
                row[count] = int(row[count])
            rows.append(row)
    return rows


def recognition_rows(
    finished: Sequence[Finished], names: dict[str, str], genres: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Give one row of `storage.evaluations.RECOGNITION` per recogniser and seed.

    Parameters
    ----------
    genres : sequence of str
        Of the rows of the confusion.
    """
    rows = []
    for one in finished:
        if one.unit.task == "recognition":
            figures = one.content["figures"]
            row = {key: figures[key] for key in RECOGNITION.names if key in figures}
            row["n_tracks"] = int(figures["n_tracks"])
            row[WITHOUT_CLASSICAL] = _recall_without(one.content["confusion"], genres)
            method, seed = one.unit.method, one.unit.seed
            rows.append({"method": method, "name": names[method], "seed": seed} | row)
    return rows


def _recall_without(confusion: list[list[int]], genres: Sequence[str]) -> float | None:
    """Give the mean recall of all genres but classical, which is easy; None where it is absent."""
    counts = np.array(confusion, dtype=np.float64)
    sizes = counts.sum(axis=1)
    is_other = np.array([genre != CLASSICAL for genre in genres], dtype=bool)
    if is_other.all() or not (is_other & (sizes > 0)).any():
        return None
    kept = is_other & (sizes > 0)
    return float((counts.diagonal()[kept] / sizes[kept]).mean())


def summarise(
    rows: Sequence[dict[str, Any]], by: tuple[str, ...], figures: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Give mean and standard deviation over seeds of some figures; None where a row has none.

    Parameters
    ----------
    rows : sequence of dict
        One per seed.
    by : tuple of str
        What rows of one kind share; kinds come in the order of their first row.

    Returns
    -------
    list of dict
        The shared values, ``n_seeds``, and for each figure ``mean`` and ``deviation``.
    """
    kinds: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        kinds.setdefault(tuple(row[name] for name in by), []).append(row)
    summaries = []
    for key, members in kinds.items():
        summary: dict[str, Any] = dict(zip(by, key, strict=True)) | {"n_seeds": len(members)}
        for figure in figures:
            values = [row[figure] for row in members]
            summary[figure] = None
            if None not in values:
                seeds = summarise_seeds(np.array(values, dtype=np.float64))
                summary[figure] = {"mean": seeds.mean, "deviation": seeds.deviation}
        summaries.append(summary)
    return summaries


def best_baseline(finished: Sequence[Finished], n_bits: int, database: str = "held") -> str | None:
    """Name the hashing baseline with the best mean mAP at a length; None without any.

    It is chosen on the very queries it is then compared on, which can only favour it.
    """
    means = {
        method: float(np.nanmean(precisions))
        for method, precisions in _precisions(finished, n_bits, database).items()
        if method in BASELINE_KEYS and method != REAL
    }
    return max(means, key=lambda method: means[method]) if means else None


def retrieval_comparisons(
    found: EvaluationTracks, finished: Sequence[Finished], bits: Sequence[int]
) -> list[dict[str, Any]]:
    """Compare every method with CRNNH and with the best baseline, at each length.

    Average precisions of the same queries, averaged over seeds first, then groups of queries are
    drawn anew; see `musichash_core.evaluation.bootstrap`. Left out where all queries that can be
    answered are of one group.
    """
    rows = []
    for database in COMPARED:
        groups = _groups(found, found.divided.positions(DATABASES[database][0]))
        for n_bits in bits:
            scores = _precisions(finished, n_bits, database)
            if not scores or _n_answered_groups(scores, groups) < 2:
                continue
            references = {"crnnh": REFERENCE, "best-baseline": best_baseline(finished, n_bits)}
            for reference, against in references.items():
                if against is None or against not in scores:
                    continue
                rows += [
                    _comparison(scores[method], scores[against], groups)
                    | {"task": "retrieval", "method": method, "against": against}
                    | {"reference": reference, "n_bits": n_bits, "database": database}
                    for method in scores
                    if method != against
                ]
    return rows


def recognition_comparisons(
    found: EvaluationTracks,
    finished: Sequence[Finished],
    positions: NDArray[np.int64],
    controls: Sequence[str],
) -> list[dict[str, Any]]:
    """Compare every recogniser with each control, track by track.

    Parameters
    ----------
    positions : (n_tracks,) int64
        Of the tracks judged.
    """
    groups = _groups(found, positions)
    scores: dict[str, list[list[float]]] = {}
    for one in finished:
        if one.unit.task == "recognition":
            scores.setdefault(one.unit.method, []).append(one.content["is_right"])
    if len(set(groups)) < 2:
        return []
    return [
        _comparison(np.array(scores[method]), np.array(scores[control]), groups)
        | {"task": "recognition", "method": method, "against": control}
        | {"reference": "control", "n_bits": None, "database": "held"}
        for control in controls
        if control in scores
        for method in scores
        if method != control
    ]


def _precisions(
    finished: Sequence[Finished], n_bits: int, database: str
) -> dict[str, NDArray[np.float64]]:
    """Give average precisions by method, ``(n_seeds, n_queries)``; REAL at every length."""
    found: dict[str, list[list[float]]] = {}
    for one in finished:
        unit = one.unit
        fits = unit.n_bits == n_bits or unit.method == REAL
        if unit.task == "retrieval" and fits and database in one.content["databases"]:
            values = one.content["databases"][database]["average_precision"]
            found.setdefault(unit.method, []).append(
                [np.nan if value is None else value for value in values]
            )
    return {method: np.array(values) for method, values in found.items()}


def _groups(found: EvaluationTracks, positions: NDArray[np.int64]) -> NDArray[np.str_]:
    return np.array([found.groups[place] for place in positions], dtype=np.str_)


def _n_answered_groups(scores: dict[str, NDArray[np.float64]], groups: NDArray[np.str_]) -> int:
    first = next(iter(scores.values()))
    return len(set(groups[~np.isnan(first[0])]))


def _comparison(
    first: NDArray[np.float64], second: NDArray[np.float64], groups: NDArray[np.str_]
) -> dict[str, Any]:
    """Give the columns of `storage.evaluations.COMPARISONS` that are numbers."""
    found = bootstrap_difference(first, second, groups)
    return {
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "p_value": found.p_value,
        "n_queries": found.n_queries,
        "n_groups": found.n_groups,
    }


def method_names(methods: Sequence[str]) -> dict[str, MethodName]:
    """Look up how tables call some methods."""
    from musichash_core.hash_baselines.registry import BASELINES

    names = {}
    for method in methods:
        if method in HASH_NETWORKS:
            network = HASH_NETWORKS[method]
            names[method] = MethodName(network.name, network.source, is_supervised=True)
        elif method == DESCRIPTOR_HASH:
            names[method] = MethodName(*DESCRIPTOR_NAME, is_supervised=True)
        else:
            baseline = BASELINES[method]
            names[method] = MethodName(baseline.name, baseline.source, baseline.is_supervised)
    return names
