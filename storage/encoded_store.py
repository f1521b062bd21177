"""Predictions and codes of one partition: two Parquet files and a receipt, immutable.

Public: `write_encoded`, `read_encoded`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from musichash_core.codes import logits_to_codes
from storage.atomic import staged_directory
from storage.layout import RECEIPT_NAME
from storage.receipts import write_receipt
from storage.schemas import PREDICTIONS, codes_schema
from storage.tables import read_part, write_rows

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
        codes.append(shared | {"code": code.tobytes(), "logits": np.asarray(track.hash_logits)})
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


def read_encoded(folder: Path, n_bits: int) -> tuple[pa.Table, pa.Table]:
    """Read the predictions and codes of a partition."""
    return (
        read_part(folder / "predictions.parquet", PREDICTIONS),
        read_part(folder / "codes.parquet", codes_schema(n_bits)),
    )
