"""Shards of an index: merged, they are to the byte what one process builds."""

from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from musichash_core.synthetic_codes import clustered_codes
from storage.atomic import LEFTOVER_PREFIX, write_file
from storage.errors import DamagedArtefactError
from storage.indexes import IvfParameters, build_ivf
from storage.snapshots import Snapshot, snapshot_bytes
from storage.store import create_store
from storage.tables import ROW_GROUP_ROWS, write_part
from tasks.index_shards import (
    begin_shards,
    build_index_shard,
    forget_shards,
    merge_index_shards,
    rows_of_shards,
)

N_CODES = ROW_GROUP_ROWS + 5000
PARAMETERS = IvfParameters(n_lists=40, n_training=2000, n_rounds=3)


@pytest.fixture(scope="module")
def codes():
    return clustered_codes(N_CODES, 64, seed=2)


@pytest.fixture(scope="module")
def whole(codes):
    return build_ivf(codes, PARAMETERS)


@pytest.fixture
def table(tmp_path, codes):
    """A store with a codes table of two parts, which snapshot 7 lists."""
    layout = create_store(tmp_path / "store")
    parts = [
        write_part(layout, "codes", pa.table({"code": pa.array(list(part), pa.binary(8))}))
        for part in (
            [code.tobytes() for code in codes[: N_CODES - 900]],
            [code.tobytes() for code in codes[N_CODES - 900 :]],
        )
    ]
    snapshot = Snapshot(
        number=7,
        feature_fingerprint="f",
        generation="g",
        tables={"codes": [part.path for part in parts]},
        index="index/none",
        index_info="index/none",
        counts={},
        files=tuple(parts),
    )
    write_file(layout.snapshot_path(7), snapshot_bytes(snapshot))
    return layout


def built(shards):
    return [build_index_shard(*arguments) for arguments in shards.arguments()]


@pytest.mark.parametrize("n_workers", [1, 2, 3, 8])
def test_merged_shards_are_what_one_process_builds(table, codes, whole, n_workers):
    shards = begin_shards(str(table.root), 7, codes, PARAMETERS, n_workers=n_workers)
    assert shards.n_shards == n_workers
    done = built(shards)
    assert sum(shard.n_codes for shard in done) == N_CODES
    # The order in which workers finish does not matter.
    assert merge_index_shards(shards, done[::-1]) == whole
    assert not Path(shards.folder).exists()


def test_shards_lie_where_a_later_run_sweeps_them(table, codes):
    shards = begin_shards(str(table.root), 7, codes, PARAMETERS, n_workers=1)
    assert Path(shards.folder).parent == table.index_root
    assert Path(shards.folder).name.startswith(LEFTOVER_PREFIX)
    forget_shards(shards)


def test_a_shard_that_was_begun_by_a_worker_that_died_is_built_again(table, codes, whole):
    shards = begin_shards(str(table.root), 7, codes, PARAMETERS, n_workers=2)
    Path(shards.folder, "000001").write_bytes(b"half a sha")
    assert merge_index_shards(shards, built(shards)) == whole


@pytest.mark.parametrize("name", ["trained", "000000"])
def test_bytes_that_changed_are_not_given_to_faiss(table, codes, name):
    shards = begin_shards(str(table.root), 7, codes, PARAMETERS, n_workers=2)
    done = built(shards)
    path = Path(shards.folder, name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    use = partial(build_index_shard, shards, 0)
    if name != "trained":
        use = partial(merge_index_shards, shards, done)
    with pytest.raises(DamagedArtefactError, match="not what was written there"):
        use()
    forget_shards(shards)


def test_a_missing_shard_gives_no_index(table, codes):
    shards = begin_shards(str(table.root), 7, codes, PARAMETERS, n_workers=3)
    done = built(shards)
    with pytest.raises(DamagedArtefactError, match="2 of 3 shards of the index"):
        merge_index_shards(shards, done[1:])
    wrong = [replace(done[0], n_codes=1), *done[1:]]
    with pytest.raises(DamagedArtefactError, match=f"of {N_CODES} codes"):
        merge_index_shards(shards, wrong)
    forget_shards(shards)


def test_rows_are_divided_without_gaps():
    for n_codes, n_shards in ((10, 3), (7, 7), (0, 1), (1 << 24, 5)):
        rows = rows_of_shards(n_codes, n_shards)
        assert len(rows) == n_shards
        assert rows[0].start == 0
        assert rows[-1].stop == n_codes
        assert all(one.stop == next_.start for one, next_ in pairwise(rows))
        assert np.ptp([len(part) for part in rows]) <= 1
