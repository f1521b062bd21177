"""Scans a few files at a time: compared with a walk, hashes and a dictionary of plain Python."""

import hashlib
import os
import random

import pytest

from musichash_core.records import SourceFile
from storage import catalogue, catalogue_walk, collected_rows, file_identities
from storage.catalogue import read_catalogue, scan_catalogue, write_catalogue
from storage.collected_rows import MemoryRows
from storage.known_files import KnownFiles
from storage.source_files import SourceFiles

NAMES = [b"a", b"a ", b"a b", b"a-b", b"a.b", b"a0", b"b", b"\xc3\xa9", b"\xe9", b"Z", b"~"]
ROOTS = ("r", "r b", "r-1", "empty")


def grow(rng, folder, depth=0):
    """Make files of a few contents below a folder."""
    for _ in range(rng.randrange(2, 9)):
        path = os.path.join(folder, rng.choice(NAMES))  # noqa: PTH118 - bytes paths
        if depth < 3 and rng.random() < 0.4:
            os.makedirs(path, exist_ok=True)  # noqa: PTH103
            grow(rng, path, depth + 1)
            continue
        path += rng.choice([b".ogg", b".FLAC", b".jpg", b".wav"])
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(rng.choice([b"", b"one", b"two", b"three"]))
        os.utime(path, ns=(0, rng.randrange(3)))


def change(rng, root):
    for folder, _, names in os.walk(os.fsencode(root)):
        for name in sorted(names):
            path = os.path.join(folder, name)  # noqa: PTH118
            chance = rng.random()
            if chance < 0.1:
                os.unlink(path)  # noqa: PTH108
            elif chance < 0.2:
                os.rename(path, path[:-4] + b"-moved.ogg")  # noqa: PTH104
            elif chance < 0.3:
                os.utime(path, ns=(0, 9))


def expected(roots, known):
    """Walk, sort, and hash what is not known; give the files and how many were hashed."""
    found, n_hashed = [], 0
    for root in roots:
        base = os.fsencode(root)
        for folder, _, names in os.walk(base):
            for name in names:
                if not name.lower().endswith((b".ogg", b".flac", b".wav")):
                    continue
                path = os.path.join(folder, name)  # noqa: PTH118
                path_raw = path[len(base) + 1 :]
                status = os.lstat(path)
                stamp = (status.st_size, status.st_mtime_ns)
                before = known.get((root, path_raw))
                if before is not None and (before.n_bytes, before.mtime_ns) == stamp:
                    found.append(before)
                    continue
                n_hashed += 1
                with open(path, "rb") as file:  # noqa: PTH123
                    track_id = hashlib.blake2b(file.read(), digest_size=16).hexdigest()
                shown = path_raw.decode("utf-8", "backslashreplace")
                found.append(SourceFile(track_id, root, shown, path_raw, *stamp))
    return tuple(sorted(found, key=lambda file: (file.root, file.path_raw))), n_hashed


@pytest.mark.parametrize("seed", range(8))
def test_a_scan_in_small_parts_finds_what_plain_python_finds(seed, tmp_path, layout, monkeypatch):
    rng = random.Random(seed)
    roots = [str(tmp_path / name) for name in ROOTS]
    for root in roots:
        os.mkdir(root)  # noqa: PTH102
        if not root.endswith("empty"):
            grow(rng, os.fsencode(root))
    for module, name, number in (
        (catalogue_walk, "BLOCK_ROWS", 4),
        (collected_rows, "BATCH_ROWS", 3),
        (collected_rows, "MEMORY_ROWS", rng.choice([0, 5, 10_000])),
        (file_identities, "HASH_BATCH", 2),
    ):
        monkeypatch.setattr(module, name, number)
    rng.shuffle(roots)
    first = scan_catalogue(roots)
    files, n_hashed = expected(roots, {})
    assert (tuple(first.files), first.n_hashed, first.failures) == (files, n_hashed, ())
    assert first.catalogue.n_tracks == len({file.track_id for file in files})
    write_catalogue(layout, first.catalogue)
    assert read_catalogue(layout) == first.catalogue

    change(rng, rng.choice(roots))
    # With identities that no file has, what was taken over shows. One file has two.
    made_up = [
        SourceFile(
            f"{number:032x}", file.root, file.path, file.path_raw, file.n_bytes, file.mtime_ns
        )
        for number, file in enumerate(files)
    ]
    recorded, others = made_up[::2], [*made_up[:2], *made_up[1::2]]
    rng.shuffle(others)
    known = KnownFiles(*(MemoryRows(SourceFiles.of(one).table) for one in (recorded, others)))
    told: list[tuple[int, int]] = []
    second = scan_catalogue(roots, known, on_progress=lambda *numbers: told.append(numbers))
    by_place = {(file.root, file.path_raw): file for file in made_up}
    files, n_hashed = expected(roots, by_place)
    assert (tuple(second.files), second.n_hashed, second.failures) == (files, n_hashed, ())
    assert told == [(number, len(files)) for number in range(1, len(files) + 1)]


def test_the_bytes_do_not_depend_on_how_many_files_are_worked_on_at_once(
    tmp_path, layout, monkeypatch
):
    rng = random.Random(7)
    (tmp_path / "r").mkdir()
    for _ in range(4):
        grow(rng, os.fsencode(tmp_path / "r"))
    written = set()
    for memory_rows, batch_rows in ((10_000, 8_192), (0, 8_192), (0, 5), (10_000, 1)):
        monkeypatch.setattr(collected_rows, "MEMORY_ROWS", memory_rows)
        monkeypatch.setattr(collected_rows, "BATCH_ROWS", batch_rows)
        result = scan_catalogue([str(tmp_path / "r")])
        assert len(result.files) > 20
        write_catalogue(layout, result.catalogue)
        written.add(layout.catalogue_path.read_bytes())
        # What is recorded from what was recorded is the same file.
        write_catalogue(layout, read_catalogue(layout))
        written.add(layout.catalogue_path.read_bytes())
    assert len(written) == 1


def test_a_catalogue_that_is_not_sorted_is_known_all_the_same(tmp_path, layout):
    rng = random.Random(3)
    (tmp_path / "r").mkdir()
    grow(rng, os.fsencode(tmp_path / "r"))
    roots = [str(tmp_path / "r")]
    rows = list(scan_catalogue(roots).catalogue.rows)
    write_catalogue(layout, catalogue.Catalogue(rows[::-1], ()))
    again = scan_catalogue(roots, KnownFiles(read_catalogue(layout)))
    assert (again.n_hashed, list(again.catalogue.rows)) == (0, rows)
