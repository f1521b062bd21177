"""Making the files of an index again, to the byte, from Parquet: the codes table and its changes.

Public: `remake_files`.
"""

from storage.indexes.building import BaseBuilder
from storage.indexes.changes import IndexChanges
from storage.indexes.comparing import KeyedCodes
from storage.indexes.flat import build_flat
from storage.indexes.info import IndexInfo
from storage.indexes.ivf import IvfParameters, build_ivf, build_shard, empty_ivf


def remake_files(
    info: IndexInfo,
    codes: KeyedCodes,
    changes: IndexChanges,
    *,
    builder: BaseBuilder = build_ivf,
) -> dict[str, bytes]:
    """Make the base and the delta of an index again.

    Parameters
    ----------
    info : IndexInfo
        Its description.
    codes : KeyedCodes
        Of the codes table.
    changes : IndexChanges
        How the table differs from the base.
    builder : callable
        Builds the lists of an ivf index.

    Returns
    -------
    dict
        Bytes by the path below the store root.
    """
    if info.kind != "ivf":
        return {info.base.path: build_flat(codes.codes)}
    base_codes = changes.base_codes(codes.codes, info.base.n_codes)
    base = builder(base_codes, IvfParameters(**info.parameters))
    made = {info.base.path: base}
    if info.delta is not None:
        added = codes.codes[changes.added]
        made[info.delta.path] = build_shard(empty_ivf(base), added, info.base.n_codes)
    return made
