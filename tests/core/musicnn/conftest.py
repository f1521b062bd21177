"""What the original package gave, and a writer of checkpoints that shares no code with the reader.

`musicnn_reference.npz` holds what musicnn 0.1.0 gave under TensorFlow 2.15.1 for the first 9.2 s of
``metal/marsshooter-03-fear.ogg`` of the sample catalogue ("Fear" by Obsidian Shell, CC BY-SA 3.0):
log-mel patches, tags of four networks, means of the vgg's pooled maps; and one checkpoint's index.
"""

from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import soundfile
import soxr
import torch

DATA = Path(__file__).parents[2] / "data"
REFERENCE_SAMPLES = 147_200

TABLE_MARK = 0xDB4775248B80FB57


class CheckpointWriter:
    """Writes tables, messages and checkpoints as TensorFlow does, or a little wrong."""

    @staticmethod
    def varint(value):
        groups = []
        while True:
            groups.append(value & 0x7F)
            value >>= 7
            if not value:
                return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])

    @staticmethod
    def checksum(data):
        crc = google_crc32c.value(bytes(data))
        return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF

    def number(self, field, value):
        return self.varint(field << 3) + self.varint(value)

    def text(self, field, value):
        return self.varint(field << 3 | 2) + self.varint(len(value)) + value

    def entry(self, tensor, start, **changes):
        dims = changes.get("shape", tensor.shape)
        shape = b"".join(self.text(2, self.number(1, length)) for length in dims)
        stored = np.ascontiguousarray(tensor).tobytes()
        crc = changes.get("crc", self.checksum(stored))
        return (
            self.number(1, changes.get("dtype", 1))
            + self.text(2, shape)
            + self.number(3, changes.get("shard", 0))
            + self.number(4, changes.get("offset", start))
            + self.number(5, changes.get("size", len(stored)))
            + bytes([6 << 3 | 5])
            + crc.to_bytes(4, "little")
        )

    def block(self, entries):
        """Join entries of (bytes shared with the key before, own bytes, value)."""
        body = b"".join(
            self.varint(n_shared) + self.varint(len(own)) + self.varint(len(value)) + own + value
            for n_shared, own, value in entries
        )
        return body + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")

    def stored_block(self, block, kind=0):
        with_kind = block + bytes([kind])
        return with_kind + self.checksum(with_kind).to_bytes(4, "little")

    def table(self, entries, *, repeats=1, kind=0):
        """Put entries into one block, which the block of blocks names `repeats` times."""
        block = self.block(entries)
        handle = self.varint(0) + self.varint(len(block))
        blocks = self.block([(0, b"%04d" % i, handle) for i in range(repeats)])
        return self.assemble(self.stored_block(block, kind), blocks)

    def assemble(self, stored, blocks):
        """Put a block of blocks and a footer after what is stored."""
        about = self.block([])
        footer = self.varint(len(stored)) + self.varint(len(about))
        stored += self.stored_block(about)
        footer += self.varint(len(stored)) + self.varint(len(blocks))
        stored += self.stored_block(blocks)
        return stored + footer.ljust(40, b"\0") + TABLE_MARK.to_bytes(8, "little")

    def checkpoint(self, tensors, header=None, **changes):
        """Give index and data of named float32 arrays; changes are made to every entry."""
        data = b""
        entries = [(0, b"", self.number(1, 1) if header is None else header)]
        for name, tensor in sorted(tensors.items()):
            entries.append((0, name.encode(), self.entry(tensor, len(data), **changes)))
            data += np.ascontiguousarray(tensor).tobytes()
        return self.table(entries), data


@pytest.fixture(scope="session")
def writer():
    return CheckpointWriter()


@pytest.fixture(scope="session")
def reference():
    with np.load(DATA / "musicnn_reference.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def reference_samples(music_root):
    stereo, sr = soundfile.read(music_root / "metal" / "marsshooter-03-fear.ogg", dtype="float32")
    n_read = -(-REFERENCE_SAMPLES * sr // 16_000)
    return soxr.resample(stereo[:n_read].mean(axis=1), sr, 16_000, quality="HQ")


@pytest.fixture(autouse=True)
def one_thread():
    """Keep torch from waiting for busy cores: on these sizes more threads only cost."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
