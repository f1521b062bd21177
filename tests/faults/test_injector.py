"""The injector sees what every library writes, and makes exactly one operation go wrong."""

import errno
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from injector import Control, environment
from power_loss import Disk, read_log

SCRIPT = """
import json, os, sys
from pathlib import Path
from injector import Control

root, fault, at, log, writer = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), *sys.argv[4:]

def python():
    (root / "a").write_bytes(b"some bytes")
    with (root / "b").open("wb") as file:
        file.write(b"more"); file.flush(); os.fsync(file.fileno()); file.truncate(2)
    (root / "folder").mkdir()
    os.link(root / "a", root / "folder" / "c")
    (root / "b").rename(root / "d")
    os.unlink(root / "a")
    (root / "gone").mkdir(); (root / "gone").rmdir()
    folder = os.open(root / "folder", os.O_RDONLY)
    descriptor = os.open("e", os.O_CREAT | os.O_RDWR, dir_fd=folder)
    os.pwrite(descriptor, b"12345", 3)
    os.writev(descriptor, [b"x", b"y"])
    os.fsync(folder)

def arrow():
    import pyarrow as pa, pyarrow.parquet as pq
    pq.write_table(pa.table({"a": list(range(1000))}), root / "table.parquet")

def zarr():
    import numpy as np, zarr
    group = zarr.create_group(store=str(root / "group"))
    group.create_array("a", shape=(10,), chunks=(5,), dtype="u1")[:] = np.arange(10, dtype="u1") + 1

def faiss():
    import faiss, numpy as np
    index = faiss.IndexBinaryFlat(64)
    index.add(np.arange(800, dtype=np.uint8).reshape(100, 8))
    faiss.write_index_binary(index, str(root / "index"))

control = Control()
control.arm(root, fault, at, Path(log))
try:
    {"python": python, "arrow": arrow, "zarr": zarr, "faiss": faiss}[writer]()
except OSError as error:
    print(json.dumps({"errno": error.errno}))
"""

WRITERS = ("python", "arrow", "zarr", "faiss")


@pytest.fixture
def write(shim, tmp_path):
    """Let a library write below a folder, with a fault; give the process and what was counted."""

    def run(writer, root, fault="none", at=0):
        root.mkdir()
        disk = Disk(root)
        log = tmp_path / f"{root.name}.log"
        process = subprocess.run(
            [sys.executable, "-c", SCRIPT, root, fault, str(at), log, writer],
            env=environment(shim, tmp_path / "control")
            | {"PYTHONPATH": f"{Path(__file__).parent}"},
            capture_output=True,
            text=True,
            check=False,
        )
        return process, Control(tmp_path / "control"), log, disk

    return run


def files_below(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("writer", WRITERS)
def test_the_record_holds_every_byte_that_a_library_wrote(write, tmp_path, writer):
    process, control, log, disk = write(writer, tmp_path / "root")
    assert process.returncode == 0, process.stderr
    operations = list(read_log(log))
    assert control.count == len(operations) > 1
    for operation in operations:
        disk.apply(operation)
    # All bytes and all names that a process could see: the record is complete.
    seen = disk.seen()
    assert seen == files_below(tmp_path / "root")
    assert any(seen.values())


def test_every_operation_of_python_can_be_the_last(write, tmp_path):
    _, control, *_ = write("python", tmp_path / "whole")
    n_operations = control.count
    left = []
    for at in (0, n_operations // 2, n_operations - 1):
        process, control, *_ = write("python", tmp_path / f"root{at}", "kill", at)
        assert process.returncode == -signal.SIGKILL
        assert control.struck is not None
        left.append(len(files_below(tmp_path / f"root{at}")))
    assert left[0] == 0 < left[1]


def test_half_of_a_torn_write_reaches_the_file(write, tmp_path):
    process, *_ = write("python", tmp_path / "root", "tear", 1)
    assert process.returncode == -signal.SIGKILL
    assert files_below(tmp_path / "root") == {"a": b"some "}


@pytest.mark.parametrize(("fault", "number"), [("full", errno.ENOSPC), ("broken", errno.EIO)])
@pytest.mark.parametrize("at", [0, 1, 4])
def test_a_full_or_broken_disk_is_an_error_of_the_operation(write, tmp_path, fault, number, at):
    process, *_ = write("python", tmp_path / "root", fault, at)
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout) == {"errno": number}


def test_what_is_written_elsewhere_is_not_counted(write, tmp_path):
    (tmp_path / "rooted").mkdir()
    process, control, *_ = write("faiss", tmp_path / "root", "kill", 10_000)
    assert process.returncode == 0
    counted = control.count
    control.arm(tmp_path / "root")
    assert counted > control.count == 0
