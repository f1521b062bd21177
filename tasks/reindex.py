"""The index of what is published: what it is, what another would be, and building it anew.

It is built from the published codes table alone; the tables and the digest of the content stay.

Public: `describe_index`, `preview_index`, `reindex`, `WantedIndex`, `Reindexed`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from musichash_core.index_config import IndexConfig, KindChoice, choose_kind
from storage.assembling import index_files, is_unchanged, with_index, with_runs_table
from storage.atomic import digest_file
from storage.errors import DamagedArtefactError, StoreError
from storage.indexes import (
    KEY_COLUMNS,
    BaseBuilder,
    CodesOrigin,
    HashIndex,
    IndexInfo,
    IndexSettings,
    build_ivf,
    keyed_codes,
    measure_latency,
    read_description,
    settings_in_force,
    write_index,
)
from storage.layout import StoreLayout
from storage.packed_codes import packed_codes
from storage.published import read_table, require_snapshot, snapshot_entry, table_paths
from storage.runs import RunRecord
from storage.snapshots import Snapshot, publish_snapshot
from storage.store import open_store
from storage.tables import part_length, part_schema
from tasks.account import Counted, accounted
from tasks.code_health import check_health
from tasks.ledger import closed

STATED = ("min_distance_recall", "compact_share", "delta_from")
"""Settings that a budget and a kind set by hand leave as they are."""


@dataclass(frozen=True, slots=True)
class WantedIndex:
    """Which index is asked for; without any of these, one by the settings in force.

    Attributes
    ----------
    config : IndexConfig or None
        Of a configuration; None where none was named.
    kind : str or None
        ``auto``, ``flat``, ``ivf`` or ``multihash``.
    max_memory_mb, max_latency_ms : float or None
        What the index may need; unlimited where only other things are asked for.
    """

    config: IndexConfig | None = None
    kind: str | None = None
    max_memory_mb: float | None = None
    max_latency_ms: float | None = None

    @property
    def is_by_hand(self) -> bool:
        """Whether something is asked for that is to stay in force."""
        return (self.kind, self.max_memory_mb, self.max_latency_ms) != (None, None, None)


@dataclass(frozen=True, slots=True)
class Reindexed:
    """What came of building an index anew.

    Attributes
    ----------
    snapshot : Snapshot
        The current one, with its number.
    is_new : bool
        False when the index is what it was, and the snapshot stays.
    mended : tuple of str
        Files of the index that were damaged or missing, and are as they were published.
    record : RunRecord
        The run's record with its account filled in.
    """

    snapshot: Snapshot
    is_new: bool
    mended: tuple[str, ...]
    record: RunRecord


def describe_index(store: str) -> dict[str, Any]:
    """Load the current snapshot's index, and say what it is and how quickly it answers now.

    Returns
    -------
    dict
        ``snapshot``, ``generation``, ``kind``, ``why``, ``settings`` (with ``set_by_command``),
        ``n_codes``, ``n_bits``, ``n_bytes``, ``parameters``, ``n_probed``,
        ``distance_recall_at_10`` (None where no version measured it), ``recall_queries``,
        ``segments`` (``base``, ``delta``, ``died``: codes), ``changed_share`` and
        ``compact_share``, ``latency`` (measured now, one query at a time), ``files``.

    Raises
    ------
    ArtefactMissingError, DamagedArtefactError
        If nothing is published, or the index is not what was published.
    """
    layout = open_store(store)
    snapshot = require_snapshot(layout)
    info = read_description(layout, snapshot)
    index = HashIndex.load(layout, snapshot)
    settings = settings_in_force(layout, snapshot, None)
    codes = packed_codes(read_table(layout, snapshot, "codes", columns=["code"]))
    n_added = 0 if info.delta is None else info.delta.n_codes
    n_died = info.base.n_codes + n_added - info.n_codes
    return {
        "snapshot": snapshot.number,
        "generation": snapshot.generation,
        "kind": info.kind,
        "why": _why(info, settings),
        "settings": settings.as_dict(),
        "n_codes": info.n_codes,
        "n_bits": info.n_bits,
        "n_bytes": info.n_bytes,
        "parameters": info.parameters,
        "n_probed": info.n_probed,
        "distance_recall_at_10": info.distance_recall_at_10 if info.recall_queries else None,
        "recall_queries": info.recall_queries,
        "segments": {"base": info.base.n_codes, "delta": n_added, "died": n_died},
        "changed_share": (n_added + n_died) / max(1, info.n_codes),
        "compact_share": settings.config.compact_share,
        "latency": measure_latency(index.candidates, codes),
        "files": [part.path for part in info.files],
    }


def _why(info: IndexInfo, settings: IndexSettings) -> str:
    """Say why an index is of its kind, from its description alone."""
    if info.kind != info.wanted_kind:
        return (
            f"{info.kind}, because an index of the kind {info.wanted_kind} found less than "
            f"{settings.config.min_distance_recall} of the nearest distances"
        )
    try:
        choice = choose_kind(info.n_codes, info.n_bits, settings.config)
    except ValueError as error:  # the budget is too small by now
        return f"{info.kind}, as it was chosen; today {error}"
    if choice.kind != info.kind:
        return f"{info.kind}, as it was chosen; built today it would be {choice.why}"
    return choice.why


def preview_index(store: str, wanted: WantedIndex) -> dict[str, Any]:
    """Say which index would be built; writes nothing.

    Returns
    -------
    dict
        ``snapshot``, ``n_codes``, ``n_bits``, ``kind``, ``why``, ``memory_mb`` and ``latency_ms``
        as estimated, ``settings``, and ``before`` (the kind now; None if it cannot be read).

    Raises
    ------
    IndexBudgetError
        If no kind keeps to what is asked for.
    """
    layout = open_store(store)
    snapshot = require_snapshot(layout)
    paths = table_paths(layout, snapshot, "codes")
    n_codes = sum(part_length(path) for path in paths)
    n_bits = 8 * part_schema(paths[0]).field("code").type.byte_width
    settings = _settings(layout, snapshot, wanted)
    choice = choose_kind(n_codes, n_bits, settings.config)
    return {
        "snapshot": snapshot.number,
        "n_codes": n_codes,
        "n_bits": n_bits,
        "before": _kind_before(layout, snapshot),
        **_chosen(choice),
        "settings": settings.as_dict(),
    }


def _chosen(choice: KindChoice) -> dict[str, Any]:
    return {
        "kind": choice.kind,
        "why": choice.why,
        "memory_mb": round(choice.memory_mb, 3),
        "latency_ms": round(choice.latency_ms, 4),
    }


def _kind_before(layout: StoreLayout, snapshot: Snapshot) -> str | None:
    try:
        return read_description(layout, snapshot).kind
    except StoreError:
        return None


def reindex(
    store: str,
    record: RunRecord,
    wanted: WantedIndex | None = None,
    *,
    builder: BaseBuilder = build_ivf,
) -> Reindexed:
    """Build the index of the current snapshot whole, and publish it if it differs.

    The caller holds the store. What was added and what died since the index was built last is in
    its base afterwards. Readers see the one index or the other, whole.

    Parameters
    ----------
    record : RunRecord
        The run, as the ledger has it so far.
    wanted : WantedIndex, optional
        Which index.
    builder : callable
        Builds the lists of an ivf index.

    Raises
    ------
    IndexBudgetError, RecallError
        If no index may be published.
    DamagedArtefactError
        If the codes table is damaged: 'musichash reconcile' rebuilds it.
    CodeHealthAlarmError
        If the codes raise an alarm that blocks.
    """
    layout = open_store(store)
    current = require_snapshot(layout)
    damaged = _damaged(layout, current, sorted(index_files(current)))
    _check_codes_table(layout, current)
    codes = keyed_codes(read_table(layout, current, "codes", columns=KEY_COLUMNS))
    parts = tuple(snapshot_entry(current, path).sha256 for path in current.tables["codes"])
    written = write_index(
        layout,
        codes,
        CodesOrigin(current.generation, parts),
        settings=_settings(layout, current, wanted or WantedIndex()),
        builder=builder,
    )
    record = accounted(
        record,
        current.counts["tracks"],
        read_table(layout, current, "failures"),
        Counted(reused=len(codes), encoded={"codes": len(codes)}),
    )
    following = with_index(current, written)
    if is_unchanged(current, following):
        return Reindexed(current, False, damaged, replace(record, snapshot=current.number))
    check_health(layout, following)
    complete = with_runs_table(layout, following, closed(record))
    number = publish_snapshot(layout, complete)
    return Reindexed(replace(complete, number=number), True, (), replace(record, snapshot=number))


def _settings(layout: StoreLayout, snapshot: Snapshot, wanted: WantedIndex) -> IndexSettings:
    """Give the settings that are asked for: by hand, by a configuration, or those in force."""
    settings = settings_in_force(layout, snapshot, wanted.config)
    if not wanted.is_by_hand:
        return settings
    asked = {
        "kind": wanted.kind or "auto",
        "max_memory_mb": wanted.max_memory_mb,
        "max_latency_ms": wanted.max_latency_ms,
    }
    kept = {name: getattr(settings.config, name) for name in STATED}
    return IndexSettings(IndexConfig.model_validate(kept | asked), is_by_command=True)


def _check_codes_table(layout: StoreLayout, snapshot: Snapshot) -> None:
    """Refuse a table that is not, to the byte, what was published: an index would vouch for it."""
    damaged = _damaged(layout, snapshot, snapshot.tables["codes"])
    if damaged:
        raise DamagedArtefactError(
            f"{', '.join(damaged)} of the codes table of snapshot {snapshot.number} is missing or "
            f"changed, so no index is built from it: 'musichash reconcile --store {layout.root}' "
            "rebuilds the table"
        )


def _damaged(layout: StoreLayout, snapshot: Snapshot, paths: Iterable[str]) -> tuple[str, ...]:
    """Name those of some files of a snapshot that are not what it lists."""
    found = []
    for path in paths:
        listed = snapshot_entry(snapshot, path)
        try:
            is_whole = digest_file(layout.root / path, layout.root) == listed
        except OSError:
            is_whole = False
        if not is_whole:
            found.append(path)
    return tuple(found)
