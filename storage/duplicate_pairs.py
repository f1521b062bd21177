"""The pairs of tracks that were compared for near-duplicates, with all evidence: kept per snapshot.

``work/duplicates/pairs.parquet`` holds the pairs of the snapshot that was looked at last; its
metadata names the snapshot, its content digest and the settings, and keeps the counts. The
evidence of a pair depends on its two tracks alone, so the next snapshot's pairs take theirs from
it where both tracks are the same. Nothing published lists it; it can be removed at any time.

Public: `PAIRS`, `KeptPairs`, `write_pairs`, `read_pairs`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage.errors import StoreError
from storage.kept_work import keep_table
from storage.layout import StoreLayout
from storage.tables import read_part

_FACTS = b"musichash.duplicates"


def _field(name: str, kind: pa.DataType, meaning: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": meaning})


def _measured(name: str, meaning: str) -> pa.Field:
    return _field(name, pa.float32(), meaning, nullable=True)


PAIRS = pa.schema(
    [
        _field("first_id", pa.string(), "track with the smaller id"),
        _field("second_id", pa.string(), "the other track"),
        _field("tier", pa.string(), "same-recording, likely-same or similar-only"),
        _field("relation", pa.string(), "what they share: whole, excerpt, part or none"),
        _field("confidence", pa.float32(), "0 to 1, orders the pairs of a tier"),
        _field("reason", pa.string(), "the deciding fact"),
        _field("proposed_by", pa.string(), "landmarks, codes, windows, before; joined by +"),
        _field("n_landmarks", pa.int32(), "landmarks that both have"),
        _field("code_distance", pa.int32(), "differing bits of the hash codes", nullable=True),
        _measured("code_cosine", "cosine of the real-valued codes"),
        _field("first_duration_s", pa.float64(), "decoded length of the first, seconds"),
        _field("second_duration_s", pa.float64(), "decoded length of the second, seconds"),
        _measured("offset_s", "seconds that the second has a sound later than the first"),
        _measured("bit_error_rate", "share of differing fingerprint bits at that offset"),
        _measured("expected_rate", "what unrelated tracks with such bits would have"),
        _measured("compared_s", "seconds compared: audible in both"),
        _measured("matched_s", "of these, seconds in pieces of five that match"),
        _measured("worst_rate", "share of differing bits in the worst of these pieces"),
        _measured("first_before_s", "audible seconds of the first before what both have"),
        _measured("second_before_s", "of the second"),
        _measured("first_after_s", "audible seconds of the first after what both have"),
        _measured("second_after_s", "of the second"),
        _measured("chromaprint_error", "share of differing Chromaprint bits, where it was asked"),
    ]
)
"""One row per pair, sorted by the ids."""


@dataclass(frozen=True, slots=True)
class KeptPairs:
    """Compared pairs.

    Attributes
    ----------
    digest : str
        Content digest of the snapshot.
    settings : str
        Name of everything else that the choice of pairs depends on.
    evidence : str
        Name of what the evidence of a pair depends on, its tracks aside.
    counts : dict
        JSON: what was looked at, proposed and cut off.
    pairs : pyarrow.Table
        `PAIRS`.
    snapshot : int or None
        Number of the snapshot; None in files of an earlier version.
    """

    digest: str
    settings: str
    evidence: str
    counts: dict[str, Any]
    pairs: pa.Table
    snapshot: int | None = None


def _path(layout: StoreLayout) -> Path:
    return layout.work_root / "duplicates" / "pairs.parquet"


def write_pairs(layout: StoreLayout, kept: KeptPairs) -> Path:
    """Keep compared pairs in place of those before, durably.

    Raises
    ------
    StoreError
        If the store cannot be written.
    """
    path = _path(layout)
    facts = {
        "digest": kept.digest,
        "settings": kept.settings,
        "evidence": kept.evidence,
        "counts": kept.counts,
        "snapshot": kept.snapshot,
    }
    metadata = {_FACTS: json.dumps(facts, sort_keys=True).encode()}
    table = kept.pairs.combine_chunks().replace_schema_metadata(metadata)
    keep_table(path, table, "the pairs")
    return path


def read_pairs(layout: StoreLayout) -> KeptPairs | None:
    """Read the pairs that were compared last; None when there are none that can be read."""
    try:
        table = read_part(_path(layout), PAIRS)
        facts = json.loads(table.schema.metadata[_FACTS])
        pairs = table.replace_schema_metadata()
        return KeptPairs(**{**facts, "pairs": pairs})
    except (StoreError, KeyError, TypeError, ValueError):
        return None
