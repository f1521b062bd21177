"""Building an index whole, and the gate: how much of the truth it must find to be published.

An ivf index reads as many lists as it takes to reach the bar. If reading a quarter of them does not
reach it, that kind is of no use for these codes: a flat index takes its place, if the budget allows
one.

Public: `CheckedParts`, `build_parts`, `check_carried`, `BaseBuilder`, `RecallError`.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from musichash_core.index_config import (
    IndexBudgetError,
    IndexConfig,
    IndexKind,
    choose_kind,
    hash_shape,
)
from storage.errors import StoreError
from storage.indexes.changes import no_changes
from storage.indexes.flat import build_flat
from storage.indexes.ivf import IvfLists, IvfParameters, build_ivf, ivf_parameters
from storage.indexes.parts import IndexParts, ServedCodes, serve
from storage.indexes.recall import MeasuredRecall, measured_recall, sample_recall
from storage.indexes.tuning import is_enough, tune_lists
from storage.log_lines import ROOT_LOGGER

log = logging.getLogger(f"{ROOT_LOGGER}.{__name__}")

BaseBuilder = Callable[[NDArray[np.uint8], IvfParameters], bytes]
"""Gives what `build_ivf` gives; so that shards can be built side by side."""

DOUBT = 2
"""An index that is carried on is below its bar if it is by so many standard errors."""


class RecallError(StoreError):
    """An index finds less than it must; nothing is published."""


@dataclass(frozen=True, slots=True, eq=False)
class CheckedParts:
    """An index that was measured and found good enough.

    Attributes
    ----------
    parts : IndexParts
    recall : MeasuredRecall
        Of what it answers for now.
    """

    parts: IndexParts
    recall: MeasuredRecall


def build_parts(
    codes: NDArray[np.uint8],
    kind: IndexKind,
    config: IndexConfig,
    *,
    builder: BaseBuilder = build_ivf,
) -> CheckedParts:
    """Build an index of codes ``(n, code_bytes)``, by row, that passes the gate.

    Raises
    ------
    RecallError
        If it does not, and no flat index may take its place.
    """
    if kind != "ivf":
        return _built_exact(codes, kind)
    parameters = ivf_parameters(len(codes))
    parts = _whole(codes, "ivf", builder(codes, parameters), parameters.as_dict(), n_probed=1)
    checked = _tuned(parts, codes, config)
    if checked is not None:
        return checked
    missed = f"an ivf index of these codes finds less than {config.min_distance_recall} (min_"
    missed += "distance_recall) of the nearest distances in a quarter of its lists"
    try:
        choose_kind(len(codes), parts.n_bits, config.model_copy(update={"kind": "flat"}))
    except IndexBudgetError as error:
        raise RecallError(
            f"{missed}, and the budget allows no flat one ({error}); lower min_distance_recall, "
            "or raise the budget; nothing is published"
        ) from error
    log.warning("%s; a flat index takes its place", missed)
    return _built_exact(codes, "flat")


def _whole(
    codes: NDArray[np.uint8],
    kind: IndexKind,
    base: bytes,
    parameters: dict[str, int],
    n_probed: int | None = None,
) -> IndexParts:
    width = codes.shape[1]
    return IndexParts(
        kind, 8 * width, base, len(codes), None, no_changes(width), parameters, n_probed
    )


def _built_exact(codes: NDArray[np.uint8], kind: IndexKind) -> CheckedParts:
    parameters = {}
    if kind == "multihash":
        n_hashes, hash_bits = hash_shape(len(codes), codes.shape[1] * 8)
        parameters = {"n_hashes": n_hashes, "hash_bits": hash_bits}
    parts = _whole(codes, kind, build_flat(codes), parameters)
    recall = measure_recall(serve(parts), codes)
    if recall.mean < 1.0:
        raise RecallError(
            f"the {parts.kind} index finds {recall.mean:.3f} of the nearest distances and should "
            "find all; nothing is published"
        )
    return CheckedParts(parts, recall)


def measure_recall(served: ServedCodes, codes: NDArray[np.uint8]) -> MeasuredRecall:
    """Compare an index with brute force, on a sample of the codes that it answers for."""
    sample = sample_recall(codes, is_exact=served.is_exact, is_tuned=False)
    return measured_recall(sample, lambda queries, k: _distances(served, queries, k))


def _distances(served: ServedCodes, queries: NDArray[np.uint8], k: int) -> NDArray[np.int32]:
    """Give the `k` smallest distances that are found; where there are fewer, some that are none."""
    found = np.full((len(queries), k), np.iinfo(np.int32).max, np.int32)
    for row, answer in zip(found, served.candidates(queries, k) if k else [], strict=bool(k)):
        n_found = min(k, len(answer))
        row[:n_found] = answer.distances[:n_found]
    return found


def _tuned(
    parts: IndexParts, codes: NDArray[np.uint8], config: IndexConfig, *, at_least: int = 1
) -> CheckedParts | None:
    """Read as many lists as it takes; None where that is too many."""
    lists = serve(parts)
    assert isinstance(lists, IvfLists)
    sample = sample_recall(codes, is_exact=False, is_tuned=True)
    tuned = tune_lists(lists, sample, min_recall=config.min_distance_recall, at_least=at_least)
    if not is_enough(tuned.recall, config.min_distance_recall):
        return None
    return CheckedParts(replace(parts, n_probed=tuned.n_probed), tuned.recall)


def check_carried(
    parts: IndexParts, codes: NDArray[np.uint8], config: IndexConfig
) -> CheckedParts | None:
    """Measure an ivf index that was carried on; it may read more lists than before.

    Parameters
    ----------
    codes : (n, code_bytes) uint8
        Of the codes table, by row.

    Returns
    -------
    CheckedParts or None
        None where it is to be built whole.
    """
    recall = measure_recall(serve(parts), codes)
    if recall.mean + DOUBT * recall.error >= config.min_distance_recall:
        return CheckedParts(parts, recall)
    assert parts.n_probed is not None
    return _tuned(parts, codes, config, at_least=parts.n_probed)
