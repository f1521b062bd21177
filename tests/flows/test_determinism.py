"""The same catalogue gives the same snapshot, whoever computes it and in whatever order."""

import shutil

import pytest

from tasks.status import store_status

pytestmark = pytest.mark.integration


def test_another_store_worker_count_and_order_of_files_give_the_same_snapshot(
    nights, run_night, sample, tiny_config, tmp_path
):
    # Tables name the catalogue's paths, so the second catalogue stands where the first one stood.
    aside = nights.catalogue.with_name("aside")
    nights.catalogue.rename(aside)
    try:
        sample.copy(reversed(sample.first_night), nights.catalogue)
        again = run_night(nights.catalogue, tmp_path / "store", tiny_config, n_workers=1)
    finally:
        shutil.rmtree(nights.catalogue)
        aside.rename(nights.catalogue)
    first = nights.status[0]
    status = store_status(str(tmp_path / "store"))
    assert status["generation"] == first["generation"]
    assert status["digest"] == first["digest"]
    assert again.account["snapshot"] == 1
