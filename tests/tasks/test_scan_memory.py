"""Scanning in memory that does not grow with the catalogue, but for a few bytes per file."""

import os

import pytest

from storage import catalogue_walk, collected_rows, file_identities, tables
from storage.store import create_store
from tasks.scan import look, record

ROWS_AT_ONCE = 250
PER_FOLDER = 100
BYTES_PER_FILE = 24
FEW, MANY = 1_500, 5_000


@pytest.fixture(autouse=True)
def few_rows_at_once(monkeypatch):
    for module, name in (
        (catalogue_walk, "BLOCK_ROWS"),
        (collected_rows, "BATCH_ROWS"),
        (collected_rows, "MEMORY_ROWS"),
        (tables, "ROW_GROUP_ROWS"),
    ):
        monkeypatch.setattr(module, name, ROWS_AT_ONCE)
    for module, name in ((collected_rows, "COPY_BYTES"), (file_identities, "READ_BYTES")):
        monkeypatch.setattr(module, name, 4096)


def make_files(root, n_files):
    for number in range(n_files):
        folder = root / f"{number // PER_FOLDER:04d}"
        if number % PER_FOLDER == 0:
            folder.mkdir(parents=True)
        name = folder / f"{number:06d} a name of usual length.flac"
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, b"%d" % number)
        os.close(descriptor)


def test_a_first_and_a_second_scan_of_many_files(tmp_path, peaks_of):
    peaks = {}
    for n_files in (FEW, MANY):
        root, store = tmp_path / f"{n_files}", str(tmp_path / f"store-{n_files}")
        make_files(root, n_files)
        create_store(store)

        def scan(root=root, store=store, n_files=n_files, *, n_hashed):
            found = look(store, [str(root)])
            record(store, found.catalogue)
            assert found.counts["tracks"] == found.counts["files"] == n_files
            assert found.n_hashed == n_hashed

        for n_hashed in (n_files, 0):
            peaks[n_files, bool(n_hashed)] = peaks_of(
                lambda scan=scan, n=n_hashed: scan(n_hashed=n)
            )
    for is_first in (True, False):
        few, many = peaks[FEW, is_first], peaks[MANY, is_first]
        assert (many - few <= BYTES_PER_FILE * (MANY - FEW)).all(), peaks
        assert few.min() > 100 * ROWS_AT_ONCE  # something was measured
