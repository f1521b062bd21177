"""Search indexes: kinds, life cycle, and answers in rows of the codes table.

`HashIndex` is a published index, loaded and ready to answer. `write_index` builds the index of a
codes table, or carries on the one before; `remake_files` makes its files again from Parquet.
`train_ivf`, `build_shard` and `merge_shards` build a large index in parts.
"""

from storage.indexes.building import BaseBuilder, RecallError, measure_recall
from storage.indexes.centroids import training_rows
from storage.indexes.comparing import KEY_COLUMNS, CodesOrigin, KeyedCodes, keyed_codes
from storage.indexes.faiss_library import on_one_thread
from storage.indexes.flat import FlatCodes, build_flat
from storage.indexes.hash_index import HashIndex
from storage.indexes.info import IndexInfo, PartFile, info_of, read_index_info
from storage.indexes.ivf import (
    IvfLists,
    IvfParameters,
    build_ivf,
    build_shard,
    ivf_parameters,
    merge_shards,
    train_ivf,
)
from storage.indexes.multihash import MultiHashTables
from storage.indexes.neighbours import Neighbours, nobody, rank
from storage.indexes.parts import IndexParts, read_changes, read_description, read_parts
from storage.indexes.recall import measure_latency
from storage.indexes.remaking import remake_files
from storage.indexes.settings import IndexSettings, settings_in_force
from storage.indexes.writing import WrittenIndex, write_index

__all__ = [
    "KEY_COLUMNS",
    "BaseBuilder",
    "CodesOrigin",
    "FlatCodes",
    "HashIndex",
    "IndexInfo",
    "IndexParts",
    "IndexSettings",
    "IvfLists",
    "IvfParameters",
    "KeyedCodes",
    "MultiHashTables",
    "Neighbours",
    "PartFile",
    "RecallError",
    "WrittenIndex",
    "build_flat",
    "build_ivf",
    "build_shard",
    "info_of",
    "ivf_parameters",
    "keyed_codes",
    "measure_latency",
    "measure_recall",
    "merge_shards",
    "nobody",
    "on_one_thread",
    "rank",
    "read_changes",
    "read_description",
    "read_index_info",
    "read_parts",
    "remake_files",
    "settings_in_force",
    "train_ivf",
    "training_rows",
    "write_index",
]
