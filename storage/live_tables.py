"""The tables of the next snapshot: what the catalogue's tracks have, from all partitions.

Public: `collect_tables`, `LiveTables`, `packed_codes`.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from musichash_core.failure_codes import QUARANTINE_CODE
from storage.catalogue import Catalogue, CatalogueRow
from storage.encoded_store import read_encoded
from storage.errors import ArtefactMissingError
from storage.extracted import Extracted
from storage.failure_rows import failure_rows
from storage.layout import RECEIPT_NAME, StoreLayout
from storage.schemas import FAILURES, PREDICTIONS, TRACK_FACTS, TRACKS, codes_schema
from storage.tables import table_of

_FACT_NAMES = [name for name in TRACK_FACTS.names if name in TRACKS.names and name != "track_id"]


@dataclass(frozen=True, slots=True)
class LiveTables:
    """Tables of the tracks that the catalogue holds now, each sorted by track_id.

    Attributes
    ----------
    tracks : pyarrow.Table
        All tracks with an identity.
    predictions, codes : pyarrow.Table
        One row per track with features.
    failures : pyarrow.Table
        One row per track or unreadable file.
    partition_ids : tuple of str
        Partitions that hold at least one of the tracks.
    n_unreadable : int
        Failure rows of files without an identity.
    n_quarantined : int
        Failure rows of tracks that killed a worker.
    """

    tracks: pa.Table
    predictions: pa.Table
    codes: pa.Table
    failures: pa.Table
    partition_ids: tuple[str, ...]
    n_unreadable: int
    n_quarantined: int


def collect_tables(
    layout: StoreLayout,
    catalogue: Catalogue,
    extracted: Extracted,
    *,
    generation: str,
    n_bits: int,
) -> LiveTables:
    """Bring together the rows of the catalogue's tracks.

    Raises
    ------
    ArtefactMissingError
        If a track is neither extracted nor failed, or a partition is not encoded.
    """
    rows = catalogue.by_track()
    facts = _rows_of(extracted.facts, set(rows))
    failed = _rows_of(extracted.failures, set(rows))
    by_partition: dict[str, list[str]] = {}
    for track_id, partition_id in zip(
        facts["track_id"].to_pylist(), facts["partition_id"].to_pylist(), strict=True
    ):
        by_partition.setdefault(partition_id, []).append(track_id)
    failures = pa.concat_tables(
        [failed, table_of(failure_rows(catalogue.failures), FAILURES)]
    ).sort_by([("track_id", "ascending"), ("path", "ascending")])
    predictions, codes = _encoded_rows(layout, by_partition, generation, n_bits)
    return LiveTables(
        tracks=_tracks_table(rows, facts, set(failed["track_id"].to_pylist())),
        predictions=predictions,
        codes=codes,
        failures=failures,
        partition_ids=tuple(sorted(by_partition)),
        n_unreadable=len(catalogue.failures),
        n_quarantined=int(pc.sum(pc.equal(failures["code"], QUARANTINE_CODE)).as_py() or 0),
    )


def _rows_of(table: pa.Table, track_ids: set[str]) -> pa.Table:
    wanted = pa.array(sorted(track_ids), pa.string())
    return table.filter(pc.is_in(table["track_id"], value_set=wanted))


def _encoded_rows(
    layout: StoreLayout, by_partition: dict[str, list[str]], generation: str, n_bits: int
) -> tuple[pa.Table, pa.Table]:
    predictions = [PREDICTIONS.empty_table()]
    codes = [codes_schema(n_bits).empty_table()]
    for partition_id, track_ids in sorted(by_partition.items()):
        folder = layout.encoded_partition_path(generation, partition_id)
        if not (folder / RECEIPT_NAME).is_file():
            raise ArtefactMissingError(
                f"partition {partition_id} has no codes of model {generation} yet; "
                f"run 'musichash encode --store {layout.root}' first"
            )
        for kept, table in zip((predictions, codes), read_encoded(folder, n_bits), strict=True):
            kept.append(_rows_of(table, set(track_ids)))
    return (
        pa.concat_tables(predictions).sort_by("track_id"),
        pa.concat_tables(codes).sort_by("track_id"),
    )


def _tracks_table(
    rows: dict[str, list[CatalogueRow]], facts: pa.Table, failed_ids: set[str]
) -> pa.Table:
    selected = facts.select(["track_id", *_FACT_NAMES])
    facts_of = {row["track_id"]: row for row in selected.to_pylist()}
    pending = rows.keys() - facts_of.keys() - failed_ids
    if pending:
        example = rows[min(pending)][0].file.path
        raise ArtefactMissingError(
            f"{len(pending)} track(s) of the catalogue are not extracted yet (one is {example!r}); "
            "run 'musichash extract' first"
        )
    return table_of(
        [_track_row(track_id, rows[track_id], facts_of.get(track_id)) for track_id in sorted(rows)],
        TRACKS,
    )


def _track_row(
    track_id: str, places: list[CatalogueRow], facts: dict[str, object] | None
) -> dict[str, object]:
    first = places[0]
    labelled = next((row for row in places if row.label is not None), first)
    return {
        "track_id": track_id,
        "root": first.file.root,
        "path": first.file.path,
        "locations": [f"{row.file.root}/{row.file.path}" for row in places],
        "label": labelled.label,
        "group": labelled.group,
        "external_id": next((row.external_id for row in places if row.external_id), None),
        "n_bytes": first.file.n_bytes,
        "status": "failed" if facts is None else "ok",
        **{name: None if facts is None else facts[name] for name in _FACT_NAMES},
    }


def packed_codes(codes: pa.Table) -> NDArray[np.uint8]:
    """Give the codes of a codes table as ``(n_rows, code_bytes)`` uint8, in row order."""
    width = codes.schema.field("code").type.byte_width
    joined = b"".join(codes["code"].to_pylist())
    return np.frombuffer(joined, dtype=np.uint8).reshape(-1, width)
