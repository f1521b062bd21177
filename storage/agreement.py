"""Whether features, tables, codes and index of a snapshot say the same: counts, ids and codes.

Digests show that bytes are those that were written; this shows that what was written agrees.

Public: `compare_snapshot`, `Disagreement`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import zarr

from storage.encoded_store import read_encoded
from storage.errors import StoreError
from storage.feature_store import FeaturePartition
from storage.generations import code_length, read_model_card
from storage.indexes import HashIndex
from storage.layout import RECEIPT_NAME, StoreLayout
from storage.packed_codes import packed_codes
from storage.published import read_table
from storage.snapshots import Snapshot


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Two parts of a snapshot that do not say the same.

    Attributes
    ----------
    what : str
        A sentence.
    """

    what: str


def compare_snapshot(
    layout: StoreLayout, snapshot: Snapshot, damaged: Collection[Path] = ()
) -> list[Disagreement]:
    """Compare the parts of a snapshot whose files are all as published.

    Parameters
    ----------
    damaged : collection of Path
        Partitions to leave out.
    """
    tables = {
        name: read_table(layout, snapshot, name) for name in ("tracks", "predictions", "codes")
    }
    ids = {name: set(table["track_id"].to_pylist()) for name, table in tables.items()}
    has_features = set(
        tables["tracks"].filter(pc.equal(tables["tracks"]["status"], "ok"))["track_id"].to_pylist()
    )
    said = [
        f"{name} has {len(table)} rows of {len(ids[name])} tracks"
        for name, table in tables.items()
        if len(table) != len(ids[name])
    ]
    said += [
        f"{name} has {len(ids[name] - has_features)} tracks that tracks calls failed or has not, "
        f"and lacks {len(has_features - ids[name])} that it has"
        for name in ("predictions", "codes")
        if ids[name] != has_features
    ]
    failed = set(read_table(layout, snapshot, "failures")["track_id"].to_pylist()) - {""}
    if failed != ids["tracks"] - has_features:
        said.append("failures and tracks name other tracks as failed")
    said += _of_index(layout, snapshot, tables["codes"])
    said += _of_partitions(layout, snapshot, has_features, damaged)
    counts = {name: len(tables[name]) for name in ("tracks", "codes")}
    if counts != {name: snapshot.counts[name] for name in counts}:
        said.append(f"the manifest counts {snapshot.counts}, the tables have {counts}")
    return [Disagreement(sentence) for sentence in said]


def _of_index(layout: StoreLayout, snapshot: Snapshot, codes: pa.Table) -> list[str]:
    try:
        index = HashIndex.load(layout, snapshot)
    except StoreError as error:
        return [str(error)]
    if index.n_codes != len(codes):
        return [f"the index has {index.n_codes} codes, the codes table {len(codes)}"]
    if not index.holds(packed_codes(codes)):
        return ["the index holds other codes than the codes table"]
    return []


def _of_partitions(
    layout: StoreLayout, snapshot: Snapshot, has_features: set[str], damaged: Collection[Path]
) -> list[str]:
    said = []
    listed = [layout.root / entry.path for entry in snapshot.files]
    root = layout.features_root(snapshot.feature_fingerprint)
    n_bits = code_length(read_model_card(layout, snapshot.generation))
    stored: set[str] = set()
    is_complete = True
    for path in listed:
        if path.name != RECEIPT_NAME or path.parent.parent != root:
            continue
        encoded = layout.encoded_partition_path(snapshot.generation, path.parent.name)
        if not {path.parent, encoded}.isdisjoint(damaged):
            is_complete = False
            continue
        partition = FeaturePartition(path.parent)
        tracks = partition.tracks()
        ids = [track.track_id for track in tracks]
        stored.update(ids)
        n_frames = sum(track.n_frames for track in tracks)
        if n_frames != _n_stored_frames(path.parent):
            said.append(f"{path.parent} has other frames than its tracks count")
        for name, table in zip(
            ("predictions", "codes"), read_encoded(encoded, n_bits), strict=True
        ):
            if table["track_id"].to_pylist() != ids:
                said.append(f"{encoded} has {name} of other tracks than {path.parent}")
    if is_complete and not has_features <= stored:
        said.append(f"{len(has_features - stored)} tracks have codes and no features")
    return said


def _n_stored_frames(folder: Path) -> int:
    """Give the length of a partition's array of frames; one without tracks has none."""
    path = folder / "features.zarr"
    if not path.is_dir():
        return 0
    array: Any = zarr.open_group(str(path), mode="r")["frames"]
    return int(array.shape[0])
