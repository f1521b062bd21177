"""Going on with the ivf index of the snapshot before: its base, a delta, and what died.

Other kinds are built whole every night: that takes less than finding out what has changed.

Public: `carry_on`, `Carried`, `given_up_at`.
"""

import logging
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from musichash_core.index_config import IndexBudgetError, IndexConfig, choose_kind
from storage.errors import StoreError
from storage.indexes.changes import IndexChanges
from storage.indexes.comparing import (
    KEY_COLUMNS,
    CodesOrigin,
    KeyedCodes,
    kept_rows,
    keyed_codes,
)
from storage.indexes.faiss_library import ForeignIndexError
from storage.indexes.info import IndexInfo
from storage.indexes.ivf import build_shard, empty_ivf
from storage.indexes.parts import IndexParts, read_description, read_parts
from storage.indexes.settings import IndexSettings
from storage.layout import StoreLayout
from storage.log_lines import ROOT_LOGGER
from storage.published import read_batches
from storage.snapshots import Snapshot

log = logging.getLogger(f"{ROOT_LOGGER}.{__name__}")


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """The index of an earlier snapshot, brought up to a later codes table.

    Attributes
    ----------
    info : IndexInfo
        Of the earlier one.
    parts : IndexParts
        Of the later one.
    is_same : bool
        Whether the codes table is the same, to the byte.
    """

    info: IndexInfo
    parts: IndexParts
    is_same: bool


def carry_on(
    layout: StoreLayout,
    previous: Snapshot,
    codes: KeyedCodes,
    origin: CodesOrigin,
    config: IndexConfig,
) -> Carried | None:
    """Bring the ivf index of an earlier snapshot up to a codes table.

    Parameters
    ----------
    codes : KeyedCodes
        Of the table.
    origin : CodesOrigin
        Of these codes.

    Returns
    -------
    Carried or None
        None where the index is to be built whole, because that of before is of another kind or
        generation, has changed too much, or cannot be read.
    """
    if previous.generation != origin.generation:
        return None
    try:
        if read_description(layout, previous).kind != "ivf":
            return None
        info, parts = read_parts(layout, previous)
        if info.n_bits != codes.codes.shape[1] * 8:
            return None
        if info.rows_of == list(origin.rows_of):
            return Carried(info, parts, is_same=True)
        changes = _changes(layout, previous, parts, codes)
        if changes is None or changes.n_changes > config.compact_share * len(codes):
            return None
        parts = replace(parts, changes=changes, delta=_delta(parts, codes.codes[changes.added]))
    except (StoreError, ForeignIndexError) as error:
        log.warning("the index is built whole, because that of before cannot be used: %s", error)
        return None
    return Carried(info, parts, is_same=False)


def _changes(
    layout: StoreLayout, previous: Snapshot, parts: IndexParts, codes: KeyedCodes
) -> IndexChanges | None:
    """Find what died and what was added since the base was built; None if rows changed places."""
    _, batches = read_batches(layout, previous, "codes", columns=KEY_COLUMNS)
    kept = kept_rows((keyed_codes(pa.Table.from_batches([some])) for some in batches), codes)
    before = parts.changes
    if len(kept.rows) != parts.n_codes:
        return None
    found = kept.rows[kept.rows >= 0]
    if not (found[1:] > found[:-1]).all():
        return None
    is_added = np.ones(len(codes), dtype=bool)
    is_added[found] = False
    again = kept.rows[before.added]
    is_added[again[again >= 0]] = True  # not in the base: they stay in the delta
    lost = np.flatnonzero(kept.rows < 0)
    is_of_base = ~np.isin(lost, before.added)
    died = np.concatenate([before.died, before.numbers_of(lost[is_of_base])])
    died_codes = np.concatenate([before.died_codes, kept.lost_codes[is_of_base]])
    order = np.argsort(died)
    return IndexChanges(died[order], died_codes[order], np.flatnonzero(is_added))


def _delta(parts: IndexParts, added: NDArray[np.uint8]) -> bytes | None:
    """Put the codes that were added into lists of their own about the same centroids."""
    return build_shard(empty_ivf(parts.base), added, parts.n_base) if len(added) else None


def given_up_at(
    layout: StoreLayout,
    previous: Snapshot,
    codes: KeyedCodes,
    origin: CodesOrigin,
    settings: IndexSettings,
) -> int | None:
    """Tell for how many codes, about as many as now, lists were found to be of no use.

    Then they are not tried again every night.

    Returns
    -------
    int or None
        None where they are to be tried: where settings have changed, too, or the budget no longer
        allows the flat index that took their place.
    """
    config = settings.config
    try:
        info = read_description(layout, previous)
    except StoreError:
        return None
    if info.given_up_at is None or info.generation != origin.generation:
        return None
    is_near = abs(len(codes) - info.given_up_at) <= config.compact_share * len(codes)
    if not is_near or info.settings != settings.as_dict():
        return None
    try:
        choose_kind(len(codes), info.n_bits, config.model_copy(update={"kind": "flat"}))
    except IndexBudgetError:
        return None
    return info.given_up_at
