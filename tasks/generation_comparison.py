"""How far two model generations agree on the published tracks: genres, neighbours, codes.

Public: `compare_generations`, `compare_encoded`, `Comparing`, `NothingInCommonError`.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from musichash_core.codes import logits_to_codes
from musichash_core.errors import MusicHashError, ParameterError
from musichash_core.evaluation.generation_agreement import (
    GenreAgreement,
    agree_on_genres,
    nearest_tracks,
    share_of_neighbours,
)
from musichash_core.metrics import code_statistics
from storage.comparisons import write_comparison
from storage.encoded_store import EncodedTables, gather_encoded
from storage.generations import code_length, find_generation, read_model_card
from storage.published import read_table, require_snapshot
from storage.store import open_store

N_CHANGES = 20
"""Changes of genre that a comparison lists, the commonest first."""

N_CANARIES = 10
"""Tracks that a comparison shows because their neighbours changed most."""

N_SHOWN_NEIGHBOURS = 3

DECIMALS = 6
"""Of the figures in a comparison: sums of another order, on another machine, give the same file."""


class NothingInCommonError(MusicHashError):
    """No published track has codes of both generations."""


@dataclass(frozen=True, slots=True)
class Comparing:
    """How generations are compared.

    Attributes
    ----------
    k : >= 1
        Neighbours of each query that are looked at.
    n_sampled : >= 1
        Tracks that are queries; all where there are fewer.
    seed : >= 0
        Of the sample.
    """

    k: int = 10
    n_sampled: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.k < 1 or self.n_sampled < 1 or self.seed < 0:
            raise ParameterError(
                f"k={self.k}, sample={self.n_sampled}, seed={self.seed}: want at least 1, 1 and 0"
            )


def compare_generations(
    store: str, first: str, second: str, comparing: Comparing
) -> dict[str, Any]:
    """Compare two generations on the published tracks with codes of both, and store the result.

    Parameters
    ----------
    first, second : str
        Names, or their beginnings.

    Raises
    ------
    UnknownGenerationError
    NothingInCommonError
        If no published track has codes of both.
    """
    layout = open_store(store)
    names = find_generation(layout, first), find_generation(layout, second)
    tracks = read_table(layout, require_snapshot(layout), "tracks")
    published = tracks.filter(pc.equal(tracks["status"], "ok"))["track_id"].to_pylist()
    encoded = [
        gather_encoded(layout, name, code_length(read_model_card(layout, name)), published)
        for name in names
    ]
    comparison = compare_encoded(names, (encoded[0], encoded[1]), tracks, comparing)
    write_comparison(layout, comparison)
    return comparison


def compare_encoded(
    names: tuple[str, str],
    encoded: tuple[EncodedTables, EncodedTables],
    tracks: pa.Table,
    comparing: Comparing,
) -> dict[str, Any]:
    """Compare what two generations say of the tracks that both know.

    Parameters
    ----------
    tracks : pyarrow.Table
        The published tracks table: where each track lies.

    Returns
    -------
    dict
        JSON without times; the same tracks, codes and settings give the same.
    """
    n_published = int(pc.sum(pc.equal(tracks["status"], "ok")).as_py() or 0)
    shared = sorted(set(encoded[0].track_ids) & set(encoded[1].track_ids))
    if not shared:
        raise NothingInCommonError(
            f"none of the {n_published} published tracks has codes of both {names[0]} "
            f"({len(encoded[0].codes)}) and {names[1]} ({len(encoded[1].codes)}); "
            "'musichash backfill --model GENERATION' computes them"
        )
    genres = [_of_tracks(one.predictions, shared)["genre"].to_pylist() for one in encoded]
    logits = [_logits(_of_tracks(one.codes, shared)) for one in encoded]
    queries = _sample(len(shared), comparing)
    nearest = [nearest_tracks(one, queries, comparing.k) for one in logits]
    overlaps = share_of_neighbours(nearest[0], nearest[1])
    k = nearest[0].shape[1]
    return {
        "first": names[0],
        "second": names[1],
        "n_published": n_published,
        "n_common": len(shared),
        "n_first": len(encoded[0].codes),
        "n_second": len(encoded[1].codes),
        "tracks_sha256": hashlib.sha256("\n".join(shared).encode()).hexdigest(),
        "predictions": _predictions(agree_on_genres(genres[0], genres[1])),
        "neighbours": {
            "k": k,
            "n_queries": len(queries),
            "seed": comparing.seed,
            "overlap": _rounded(overlaps.mean()),
            "overlap_by_chance": _rounded(k / max(1, len(shared) - 1)),
            "share_unchanged": _rounded((overlaps == 1).mean()),
            "share_all_new": _rounded((overlaps == 0).mean() if k else 0.0),
        },
        "codes": {"first": _statistics(logits[0]), "second": _statistics(logits[1])},
        "canaries": _canaries(shared, tracks, genres, queries, nearest),
    }


def _of_tracks(table: pa.Table, track_ids: list[str]) -> pa.Table:
    """Keep the rows of some tracks of a table sorted by track_id."""
    return table.filter(pc.is_in(table["track_id"], value_set=pa.array(track_ids, pa.string())))


def _logits(codes: pa.Table) -> NDArray[np.float32]:
    n_bits = codes.schema.field("logits").type.list_size
    flat = np.concatenate([chunk.flatten().to_numpy() for chunk in codes["logits"].chunks])
    return np.asarray(flat, dtype=np.float32).reshape(-1, n_bits)


def _sample(n_tracks: int, comparing: Comparing) -> NDArray[np.int64]:
    rng = np.random.default_rng(comparing.seed)
    n_queries = min(comparing.n_sampled, n_tracks)
    return np.sort(rng.choice(n_tracks, n_queries, replace=False)).astype(np.int64)


def _predictions(agreement: GenreAgreement) -> dict[str, Any]:
    kappa = agreement.kappa
    return {
        "n_agreed": agreement.n_agreed,
        "agreement": _rounded(agreement.share),
        "kappa": None if kappa is None else _rounded(kappa),
        "per_genre": {
            genre: {"n_tracks": n_tracks, "n_kept": n_kept, "share": _rounded(n_kept / n_tracks)}
            for genre, (n_tracks, n_kept) in agreement.per_genre.items()
        },
        "n_changes": len(agreement.changes),
        "changes": [
            {"first": old, "second": new, "n_tracks": count}
            for old, new, count in agreement.changes[:N_CHANGES]
        ],
    }


def _statistics(logits: NDArray[np.float32]) -> dict[str, float]:
    statistics = code_statistics(logits_to_codes(logits))
    return {
        "n_bits": logits.shape[1],
        "n_codes": statistics.n_codes,
        "n_distinct": statistics.n_distinct,
        "largest_bucket": statistics.largest_bucket,
        "mean_bias": _rounded(statistics.mean_bias),
        "mean_correlation": _rounded(statistics.mean_correlation),
        "mean_entropy": _rounded(statistics.mean_entropy),
    }


def _canaries(
    track_ids: list[str],
    tracks: pa.Table,
    genres: list[list[str]],
    queries: NDArray[np.int64],
    nearest: list[NDArray[np.int64]],
) -> list[dict[str, Any]]:
    """Give the queries that keep fewest of their neighbours, with the nearest of both."""
    overlaps = share_of_neighbours(nearest[0], nearest[1])
    changed = [number for number in np.lexsort((queries, overlaps)) if overlaps[number] < 1]
    chosen = changed[:N_CANARIES]
    rows = {int(queries[number]) for number in chosen}
    shown = [found[chosen, :N_SHOWN_NEIGHBOURS] for found in nearest]
    rows.update(int(row) for found in shown for row in found.ravel())
    place = _places(tracks, {row: track_ids[row] for row in rows})
    return [
        {
            "track_id": track_ids[row],
            "overlap": _rounded(overlaps[number]),
            **place[row],
            "genre": {"first": genres[0][row], "second": genres[1][row]},
            "nearest": {
                "first": [place[int(other)]["path"] for other in shown[0][position]],
                "second": [place[int(other)]["path"] for other in shown[1][position]],
            },
        }
        for position, (number, row) in enumerate((one, int(queries[one])) for one in chosen)
    ]


def _places(tracks: pa.Table, track_of: dict[int, str]) -> dict[int, dict[str, Any]]:
    """Give path and label of some tracks, by their row."""
    wanted: Iterable[dict[str, Any]] = (
        _of_tracks(tracks, sorted(track_of.values()))
        .select(["track_id", "path", "label"])
        .to_pylist()
    )
    known = {row.pop("track_id"): row for row in wanted}
    return {row: known[track_id] for row, track_id in track_of.items()}


def _rounded(value: float | np.floating[Any]) -> float:
    return round(float(value), DECIMALS)
