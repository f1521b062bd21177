"""The store that indexes are measured in: a table as a night writes it."""

import numpy as np

from musichash_core.synthetic_codes import ADDITIONS, clustered_codes
from storage.published import read_table
from tasks.bench_index_store import ScratchStore


def test_its_table_is_in_the_order_of_track_ids_and_additions_fall_between(tmp_path):
    codes, additions = clustered_codes(700, 64), clustered_codes(40, 64, part=ADDITIONS)
    store = ScratchStore(tmp_path / "store", codes, additions, seed=1)
    table = read_table(store._layout, store._snapshot, "codes")
    ids = table["track_id"].to_pylist()
    assert ids == sorted(set(ids))
    assert {len(track_id) for track_id in ids} == {32}
    assert b"".join(table["code"].to_pylist()) == codes.tobytes()
    later = store._later.codes
    later_ids = later.track_ids.to_pylist()
    assert later_ids == sorted(set(later_ids))
    kept = np.isin(later_ids, ids)
    assert kept.sum() == 700
    assert 100 < np.flatnonzero(~kept).mean() < 640
    np.testing.assert_array_equal(later.codes[kept], codes)
    np.testing.assert_array_equal(later.codes[~kept], additions)


def test_what_is_built_answers_and_is_written_again_with_additions(tmp_path):
    codes, additions = clustered_codes(700, 64), clustered_codes(40, 64, part=ADDITIONS)
    store = ScratchStore(tmp_path / "store", codes, additions, seed=1)
    for kind in ("flat", "ivf", "multihash"):
        store.build(kind)
        index = store.load()
        assert (index.kind, index.n_codes) == (kind, 700)
        n_files = len(list((tmp_path / "store" / "index").iterdir()))
        store.append(kind)
        assert len(list((tmp_path / "store" / "index").iterdir())) > n_files
