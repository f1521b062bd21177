"""The page of an evaluation: one self-contained HTML file, in the style of the report.

Public: `render_page`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tasks import evaluation_figures as figures
from tasks.evaluation_methods import DESCRIPTOR_HASH, DESCRIPTOR_HEAD, METHOD_KEYS
from tasks.evaluation_scores import mapped_positions
from tasks.evaluation_studies import STUDIES
from tasks.evaluation_study_figures import study_picture, study_rows
from tasks.evaluation_tables import REAL, WITHOUT_CLASSICAL, Finished, best_baseline
from tasks.evaluation_tracks import EvaluationTracks
from tasks.html_page import fill_template
from tasks.report_drawing import Picture

TEMPLATE = "evaluation.html.j2"

DATABASE_TEXTS = {
    "held": ("D-held: seen genres, database never trained on", "primary"),
    "train": ("D-train: the training tracks as the database", "secondary: flatters"),
    "unseen": ("Unseen genres among themselves", "never trained on"),
    "unseen-all": ("Unseen genres, seen ones as distractors", "never trained on"),
}

DETAILS = (
    ("map_at_100", "mAP@100", 3),
    ("precision_at_10", "P@10", 3),
    ("precision_at_100", "P@100", 3),
    ("asymmetric_map", "asymm. mAP", 3),
    ("radius_2_precision", "precision in radius 2", 3),
    ("radius_2_empty_share", "empty balls", 2),
    ("radius_2_recall", "recall in radius 2", 3),
    ("knn_accuracy", "kNN(10)", 3),
    ("n_distinct_codes", "distinct codes", 1),
    ("largest_bucket_share", "largest bucket", 3),
    ("mean_bit_bias", "bit bias", 3),
    ("mean_bit_correlation", "bit correlation", 3),
)
"""Columns of the table of one length: key, heading, digits."""

CONFUSED = ("hpss-cnn", DESCRIPTOR_HEAD)
"""Recognisers whose confusion is shown; an evaluation has one of them."""

NAMED = ("crnnh", "crnnh+", DESCRIPTOR_HASH, "ctrl-gap", "cls-hash", REAL)
"""Methods that charts name, beside the best baseline."""

Rows = list[dict[str, Any]]


def render_page(
    told: dict[str, Any], tracks: EvaluationTracks, finished: Sequence[Finished]
) -> str:
    """Write the page.

    Parameters
    ----------
    told : dict
        What `tasks.evaluate.evaluate` gives.
    tracks : EvaluationTracks
    finished : sequence of Finished
        For curves, confusion and the map of the code space.
    """
    bits = sorted(told["about"]["request"]["bits"])
    context: dict[str, Any] = {
        "about": told["about"],
        "split": _split_rows(told["about"]["split"]),
        "recognition": told["recognition"],
        "has_classical": any(row[WITHOUT_CLASSICAL] is not None for row in told["recognition"]),
        "recognition_comparisons": _of_task(told["comparisons"], "recognition"),
        "confusion": _confusion(told, finished),
        "names": {row["method"]: row["name"] for row in told["retrieval"] + told["recognition"]},
        "bits": bits,
        "tables": _retrieval_tables(told, bits),
        "comparisons": _comparison_tables(told, bits),
        "details": [row for row in _held(told) if row["n_bits"] in (None, bits[-1])],
        "detail_columns": DETAILS,
        "pictures": _pictures(told, tracks, finished, bits),
        "study": _study(told),
        "swatches": [
            (genre, figures.genre_colour(place), genre in told["about"]["unseen_genres"])
            for place, genre in enumerate(_all_genres(told))
        ],
    }
    return fill_template(TEMPLATE, context)


def _study(told: dict[str, Any]) -> dict[str, Any] | None:
    """Give what a study asks and its picture; None in the comparison of methods."""
    plan = STUDIES.get(told["about"]["study"])
    if plan is None:
        return None
    reference = plan.references[0]
    (name,) = [row["name"] for row in told["recognition"] if row["method"] == reference]
    rows = study_rows(told["recognition"], told["comparisons"], reference)
    chance = told["recognition"][0]["chance"]["mean"]
    return {
        "title": plan.title,
        "column": plan.column,
        "note": plan.note,
        "picture": study_picture(rows, name, chance),
    }


def _all_genres(told: dict[str, Any]) -> list[str]:
    return sorted({*told["about"]["genres"], *told["about"]["unseen_genres"]})


def _split_rows(figures_of_split: dict[str, int]) -> list[tuple[str, int, int]]:
    """Give side, tracks and groups in the order of use."""
    order = ("train", "val", "db", "query", "unseen_db", "unseen_query", "left_out")
    return [
        (side, figures_of_split[f"n_{side}_tracks"], figures_of_split[f"n_{side}_groups"])
        for side in order
        if f"n_{side}_tracks" in figures_of_split
    ]


def _of_task(comparisons: Rows, task: str) -> Rows:
    return [row for row in comparisons if row["task"] == task]


def _held(told: dict[str, Any]) -> Rows:
    return [row for row in told["retrieval"] if row["database"] == "held"]


def _retrieval_tables(told: dict[str, Any], bits: list[int]) -> list[dict[str, Any]]:
    """Give one table of mAP per database: a row per method, a cell per length."""
    tables = []
    for database in told["about"]["databases"]:
        rows = [row for row in told["retrieval"] if row["database"] == database]
        if not rows:
            continue
        by_method: dict[str, Rows] = {}
        for row in rows:
            by_method.setdefault(row["method"], []).append(row)
        methods = []
        for method, members in by_method.items():
            cells = {row["n_bits"]: row["map"] for row in members}
            methods.append(
                {
                    "method": method,
                    "name": members[0]["name"],
                    "source": members[0]["source"],
                    "is_supervised": members[0]["is_supervised"],
                    "cells": [cells.get(n_bits) for n_bits in bits],
                    "real": cells.get(None),
                }
            )
        best = [
            max((m["cells"][at]["mean"] for m in methods if m["cells"][at]), default=None)
            for at in range(len(bits))
        ]
        title, role = DATABASE_TEXTS[database]
        tables.append(
            {
                "title": title,
                "role": role,
                "methods": methods,
                "best": best,
                "chance": rows[0]["chance"]["mean"],
                "n_answered": rows[0]["n_answered"]["mean"],
                "n_items": rows[0]["n_items"]["mean"],
            }
        )
    return tables


def _comparison_tables(told: dict[str, Any], bits: list[int]) -> list[dict[str, Any]]:
    """Give one table per database and reference: a row per method, a cell per length."""
    tables = []
    rows = _of_task(told["comparisons"], "retrieval")
    for database, reference in dict.fromkeys((row["database"], row["reference"]) for row in rows):
        chosen = [
            row for row in rows if (row["database"], row["reference"]) == (database, reference)
        ]
        cells = {(row["method"], row["n_bits"]): row for row in chosen}
        methods = sorted({row["method"] for row in chosen}, key=METHOD_KEYS.index)
        tables.append(
            {
                "title": DATABASE_TEXTS[database][0],
                "reference": reference,
                "against": {row["n_bits"]: row["against"] for row in chosen},
                "methods": [
                    (method, [cells.get((method, n_bits)) for n_bits in bits]) for method in methods
                ],
                "n_queries": chosen[0]["n_queries"],
                "n_groups": chosen[0]["n_groups"],
            }
        )
    return tables


def _confusion(told: dict[str, Any], finished: Sequence[Finished]) -> dict[str, Any] | None:
    """Add up the genre network's confusion over seeds; None in a study."""
    counts = [
        np.array(one.content["confusion"], dtype=np.int64)
        for one in finished
        if one.unit.task == "recognition" and one.unit.method in CONFUSED
    ]
    if not counts:
        return None
    total = np.sum(counts, axis=0)
    return {
        "names": told["about"]["genres"],
        "counts": total.tolist(),
        "shares": (total / np.maximum(1, total.sum(axis=1, keepdims=True))).tolist(),
        "n_seeds": len(counts),
    }


def _pictures(
    told: dict[str, Any], tracks: EvaluationTracks, finished: Sequence[Finished], bits: list[int]
) -> dict[str, Picture]:
    """Draw the charts of codes; none in a study."""
    rows = _held(told)
    if not rows:
        return {}
    named = [*NAMED, *filter(None, [best_baseline(finished, bits[-1])])]
    chance = rows[0]["chance"]["mean"]
    pictures = {
        "length": figures.length_picture(_length_series(rows, named), chance),
        "curve": figures.curve_picture(
            _curve_series(finished, rows, named, bits), chance, bits[-1]
        ),
    }
    clouds = _clouds(told, tracks, finished, bits[-1])
    return pictures | ({"space": figures.space_picture(clouds)} if clouds else {})


def _length_series(rows: Rows, named: list[str]) -> list[figures.Series]:
    series = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        spread = [row["map"]["deviation"] for row in own]
        series.append(
            figures.Series(
                name=own[0]["name"] if method in named else "",
                x=np.array([row["n_bits"] or 0 for row in own], dtype=np.float64),
                y=np.array([row["map"]["mean"] for row in own]),
                spread=None if None in spread else np.array(spread),
                is_level=method == REAL,
            )
        )
    return sorted(series, key=lambda one: bool(one.name))


def _curve_series(
    finished: Sequence[Finished], rows: Rows, named: list[str], bits: list[int]
) -> list[figures.Series]:
    """Average the curves of a method over seeds, at the largest length."""
    names = {row["method"]: row["name"] for row in rows}
    curves: dict[str, list[dict[str, list[float]]]] = {}
    for one in finished:
        if one.unit.task == "retrieval" and one.unit.n_bits in (None, bits[-1]):
            curves.setdefault(one.unit.method, []).append(one.content["databases"]["held"]["curve"])
    series = [
        figures.Series(
            name=names[method] if method in named else "",
            x=np.mean([curve["recall"] for curve in members], axis=0),
            y=np.mean([curve["precision"] for curve in members], axis=0),
        )
        for method, members in curves.items()
    ]
    return sorted(series, key=lambda one: bool(one.name))


def _clouds(
    told: dict[str, Any], tracks: EvaluationTracks, finished: Sequence[Finished], n_bits: int
) -> list[figures.Cloud]:
    """Choose what the map shows: CRNNH and CRNNH+, or whatever there is, of the first seed."""
    maps = {
        one.unit.method: one.content["map"]
        for one in finished
        if one.unit.task == "retrieval" and one.unit.seed == 0 and one.unit.n_bits == n_bits
    }
    wanted = [method for method in ("crnnh", "crnnh+") if method in maps]
    best = best_baseline(finished, n_bits)
    shown = [*wanted, *([best] if best else []), *maps][:2]
    names = {row["method"]: row["name"] for row in told["retrieval"]}
    positions = mapped_positions(tracks)
    genres = _all_genres(told)
    return [
        figures.Cloud(
            name=f"{names[method]}, {n_bits} bits, seed 0",
            points=np.array(maps[method], dtype=np.float64),
            genre=np.array([genres.index(tracks.labels[i]) for i in positions], dtype=np.int64),
            is_unseen=np.array([tracks.divided.sides[i] == "unseen_db" for i in positions]),
        )
        for method in dict.fromkeys(shown)
    ]
