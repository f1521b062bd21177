"""Receipts list every file of a folder with its digest, and prove that it is complete."""

import hashlib
import json

import pytest

from storage.errors import ArtefactMissingError, DamagedArtefactError, FormatVersionError
from storage.receipts import finished_partitions, read_receipt, write_receipt


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "features" / "partition"
    (folder / "deep").mkdir(parents=True)
    (folder / "a").write_bytes(b"first")
    (folder / "deep" / "b").write_bytes(b"")
    return folder


def receive(folder):
    return write_receipt(
        folder, kind="features", partition_id="p", fingerprint="f", n_done=3, n_failed=1
    )


def test_a_receipt_comes_back_as_it_was_written(folder):
    written = receive(folder)
    assert read_receipt(folder) == written


def test_a_receipt_lists_every_file_but_itself(folder):
    receipt = receive(folder)
    assert [(entry.path, entry.size) for entry in receipt.files] == [("a", 5), ("deep/b", 0)]
    assert [entry.sha256 for entry in receipt.files] == [
        hashlib.sha256(content).hexdigest() for content in (b"first", b"")
    ]
    assert (receipt.kind, receipt.n_done, receipt.n_failed) == ("features", 3, 1)


def test_a_folder_gets_one_receipt_and_is_not_made_for_it(folder, tmp_path):
    receive(folder)
    with pytest.raises(FileExistsError):
        receive(folder)
    with pytest.raises(FileNotFoundError):
        receive(tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


def test_a_folder_without_a_receipt_is_not_finished(folder):
    root = folder.parent
    assert finished_partitions(root) == []
    with pytest.raises(ArtefactMissingError, match=r"receipt\.json does not exist"):
        read_receipt(folder)


def test_finished_partitions_are_listed_in_order_without_left_overs(folder):
    root = folder.parent
    for name in ("b", "a", ".tmp-c-12"):
        (root / name).mkdir()
        receive(root / name)
    (root / "half").mkdir()
    (root / "file").touch()
    assert finished_partitions(root) == ["a", "b"]
    assert finished_partitions(root / "gone") == []


@pytest.mark.parametrize(
    "change",
    [{"files": None}, {"files": [{}]}, {"files": [["a"]]}, {"n_done": ...}, {"kind": ...}],
)
def test_what_is_no_receipt_is_damaged(folder, change):
    receive(folder)
    content = json.loads((folder / "receipt.json").read_text()) | change
    kept = {name: value for name, value in content.items() if value is not ...}
    (folder / "receipt.json").write_text(json.dumps(kept))
    with pytest.raises(DamagedArtefactError, match="is not a receipt"):
        read_receipt(folder)


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_a_receipt_of_another_version_is_refused(folder, version):
    receive(folder)
    content = json.loads((folder / "receipt.json").read_text()) | {"format": version}
    (folder / "receipt.json").write_text(json.dumps(content))
    with pytest.raises(
        FormatVersionError, match=f"has format {version}, this version reads format 1"
    ):
        read_receipt(folder)
