"""Predictions and codes of one partition: two Parquet files and a receipt, immutable.

A partition's folder lies below that of its generation, whose name covers the fingerprint of the
features that the models read. Reading checks that receipt and rows are of that generation, so codes
of two generations, or of other features, never come together.

Partitions that were written before windows had codes are read as if no track had any.

Public: `write_encoded`, `read_encoded`, `read_codes`, `code_pieces`, `gather_encoded`,
`EncodedTables`, `encoded_track_ids`.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from musichash_core.codes import logits_to_codes
from storage.atomic import staged_directory
from storage.errors import FingerprintMismatchError
from storage.layout import RECEIPT_NAME, StoreLayout
from storage.receipts import finished_partitions, read_receipt, write_receipt
from storage.schemas import PREDICTIONS, codes_schema, codes_schema_without_segments
from storage.tables import part_tables, read_part, write_rows

if TYPE_CHECKING:  # importing it loads torch, which reading tables does not need
    from musichash_core.inference import EncodedTrack


def write_encoded(
    folder: Path,
    encoded: Sequence[tuple[str, "EncodedTrack"]],
    *,
    generation: str,
    genres: Sequence[str],
    n_bits: int,
) -> None:
    """Store what the models say about the tracks of a partition.

    Parameters
    ----------
    folder : Path
        Final place.
    encoded : sequence of (track_id, EncodedTrack)
        In the partition's order.
    genres : sequence of str
        Names of the probabilities.
    """
    predictions, codes = [], []
    for track_id, track in encoded:
        shared = {
            "track_id": track_id,
            "n_segments": track.n_segments,
            "generation": generation,
        }
        predictions.append(
            shared
            | {
                "genre": genres[track.genre],
                "probability": float(track.probabilities[track.genre]),
                "probabilities": list(zip(genres, track.probabilities.tolist(), strict=True)),
            }
        )
        code = logits_to_codes(track.hash_logits)
        codes.append(
            shared
            | {"code": code.tobytes(), "logits": np.asarray(track.hash_logits)}
            | _window_columns(track)
        )
    with staged_directory(folder, proof=RECEIPT_NAME) as staged:
        write_rows(staged / "predictions.parquet", predictions, PREDICTIONS)
        write_rows(staged / "codes.parquet", codes, codes_schema(n_bits))
        write_receipt(
            staged,
            kind="encoded",
            partition_id=folder.name,
            fingerprint=generation,
            n_done=len(encoded),
            n_failed=0,
        )


def _window_columns(track: "EncodedTrack") -> dict[str, list[Any]]:
    if track.windows is None:
        return {"segment_codes": [], "segment_starts_s": []}
    return {
        "segment_codes": [code.tobytes() for code in track.windows.codes],
        "segment_starts_s": track.windows.starts_s.tolist(),
    }


def _with_segment_columns(codes: pa.Table) -> pa.Table:
    """Give a table of codes the columns of windows that it was written without, with none in them.

    Parameters
    ----------
    codes : pyarrow.Table
        `storage.schemas.codes_schema`, or the one without segments.
    """
    if "segment_codes" in codes.column_names:
        return codes
    schema = codes_schema(8 * codes.schema.field("code").type.byte_width)
    for name in ("segment_codes", "segment_starts_s"):
        field = schema.field(name)
        nothing = pa.ListArray.from_arrays(
            pa.array(np.zeros(len(codes) + 1, np.int32)),
            pa.array([], field.type.value_type),
            type=field.type,
        )
        codes = codes.append_column(field, nothing)
    return codes


def read_encoded(folder: Path, n_bits: int) -> tuple[pa.Table, pa.Table]:
    """Read the predictions and codes of a partition.

    Raises
    ------
    FingerprintMismatchError
        If receipt or rows are not of the generation that the folder lies below.
    """
    generation = folder.parent.name
    receipt = read_receipt(folder)
    if (receipt.kind, receipt.fingerprint) != ("encoded", generation):
        raise FingerprintMismatchError(
            f"{folder} holds {receipt.kind} of {receipt.fingerprint}, not codes of {generation}; "
            "remove it and run 'musichash encode'"
        )
    tables = (
        read_part(folder / "predictions.parquet", PREDICTIONS),
        read_codes(folder / "codes.parquet", n_bits),
    )
    for table in tables:
        found = set(pc.unique(table["generation"]).to_pylist())
        if found - {generation}:
            raise FingerprintMismatchError(
                f"{folder} holds rows of {', '.join(sorted(found))}, not of {generation} alone; "
                "remove it and run 'musichash encode'"
            )
    return tables


def read_codes(path: Path, n_bits: int) -> pa.Table:
    """Read a part of a codes table; one of before windows had codes has none of any."""
    accepted = codes_schema(n_bits), codes_schema_without_segments(n_bits)
    return _with_segment_columns(read_part(path, *accepted))


def code_pieces(path: Path, n_bits: int) -> Iterator[pa.Table]:
    """Give what `read_codes` reads a few rows at a time."""
    accepted = codes_schema(n_bits), codes_schema_without_segments(n_bits)
    return map(_with_segment_columns, part_tables(path, *accepted))


@dataclass(frozen=True, slots=True)
class EncodedTables:
    """What one generation says of some tracks; each table sorted by track_id, each track once.

    Attributes
    ----------
    predictions, codes : pyarrow.Table
        `storage.schemas.PREDICTIONS` and ``codes_schema``, of the same tracks.
    """

    predictions: pa.Table
    codes: pa.Table

    @property
    def track_ids(self) -> list[str]:
        """The tracks, sorted."""
        ids: list[str] = self.codes["track_id"].to_pylist()
        return ids


def gather_encoded(
    layout: StoreLayout,
    generation: str,
    n_bits: int,
    track_ids: Collection[str],
    *,
    partition_ids: Sequence[str] | None = None,
) -> EncodedTables:
    """Bring together the rows of some tracks, from all finished partitions of a generation.

    Tracks that have none are left out. A row does not depend on the partition that it is in, so of
    a track that several partitions hold the first row is as good as any.

    Parameters
    ----------
    partition_ids : sequence of str, optional
        Look into these partitions only.
    """
    missing = set(track_ids)
    predictions, codes = [PREDICTIONS.empty_table()], [codes_schema(n_bits).empty_table()]
    finished = finished_partitions(layout.encoded_root(generation))
    allowed = set(finished if partition_ids is None else partition_ids)
    for partition_id in finished:
        if partition_id not in allowed or not missing:
            continue
        folder = layout.encoded_partition_path(generation, partition_id)
        both = read_encoded(folder, n_bits)
        wanted = missing.intersection(both[1]["track_id"].to_pylist())
        if not wanted:
            continue
        for kept, table in zip((predictions, codes), both, strict=True):
            values = pa.array(sorted(wanted), pa.string())
            kept.append(table.filter(pc.is_in(table["track_id"], value_set=values)))
        missing -= wanted
    return EncodedTables(
        pa.concat_tables(predictions).sort_by("track_id"),
        pa.concat_tables(codes).sort_by("track_id"),
    )


def encoded_track_ids(layout: StoreLayout, generation: str) -> set[str]:
    """Give the tracks that have codes of a generation."""
    found: set[str] = set()
    for partition_id in finished_partitions(layout.encoded_root(generation)):
        folder = layout.encoded_partition_path(generation, partition_id)
        found.update(read_part(folder / "codes.parquet")["track_id"].to_pylist())
    return found
