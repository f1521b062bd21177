"""Checkpoints: one that TensorFlow wrote, written ones, and ones made to hurt."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musichash_core.errors import ParameterError
from musichash_core.musicnn.table_blocks import masked_crc32c, message_fields, table_entries
from musichash_core.musicnn.tensorflow_checkpoint import (
    DATA_NAME,
    INDEX_NAME,
    MAX_DATA_BYTES,
    MAX_INDEX_BYTES,
    read_checkpoint,
    tensors_of,
)

MAX_EXTRA_BYTES = 8 << 20
"""What a hostile index of 64 kB may make the reader allocate."""


def tensors(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"a/kernel": (3, 2, 1, 4), "a/bias": (4,), "power": (), "none": (0, 5)}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("data", "unmasked"),
    [(b"123456789", 0xE3069283), (b"\0" * 32, 0x8A9136AA), (bytes(range(32)), 0x46DD794E)],
)
def test_checksums_are_the_published_ones(data, unmasked):
    masked = (unmasked >> 15 | (unmasked & 0x7FFF) << 17) + 0xA282EAD8
    assert masked_crc32c(data) == masked % (1 << 32)


def test_the_index_that_tensorflow_wrote_is_read(reference):
    index = reference["MSD_vgg_index"].tobytes()
    entries = dict(table_entries(index))
    assert entries.pop(b"") == b"\x08\x01\x1a\x02\x08\x01"  # one data file, written by version 1
    assert len(entries) == 86
    assert b"batch_normalization_3/moving_variance" in entries  # most of whose key is shared
    kernel = message_fields(entries[b"2CNN/kernel"])
    assert kernel[1] == [1]
    assert kernel[5] == [3 * 3 * 128 * 128 * 4]
    sizes = sorted(
        (fields.get(4, [0])[0], fields[5][0]) for fields in map(message_fields, entries.values())
    )
    ends = np.cumsum([size for _, size in sizes])
    np.testing.assert_array_equal([start for start, _ in sizes], [0, *ends[:-1]])
    assert ends[-1] == 7_274_112  # the length of the data file beside it


def test_every_byte_of_an_index_counts(reference):
    index = reference["MSD_vgg_index"].tobytes()
    used_footer = len(index) - 48 + 8  # then zeros up to the mark
    for at in [*range(0, used_footer, 7), *range(len(index) - 8, len(index))]:
        damaged = bytearray(index)
        damaged[at] ^= 0x10
        with pytest.raises(ParameterError):
            dict(table_entries(bytes(damaged)))


def test_a_written_checkpoint_is_read_back(tmp_path, writer):
    index, data = writer.checkpoint(tensors())
    (tmp_path / INDEX_NAME).write_bytes(index)
    (tmp_path / DATA_NAME).write_bytes(data)
    found = read_checkpoint(tmp_path)
    assert found.keys() == tensors().keys()
    for name, tensor in tensors().items():
        np.testing.assert_array_equal(found[name], tensor, strict=True)


def test_other_kinds_of_numbers_are_left_out(writer):
    assert tensors_of(*writer.checkpoint(tensors(), dtype=9)) == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crc": 1}, "does not match its checksum"),
        ({"offset": 1 << 40}, "do not fit"),
        ({"offset": (1 << 64) - 1}, "do not fit"),
        ({"size": 1 << 62}, "more bytes than the data"),
        ({"shape": (1 << 62, 1 << 62)}, "do not fit"),
        ({"shape": ((1 << 64) - 1,)}, "do not fit"),  # -1: a length that is not known
        ({"shape": (1,) * 9}, "9 axes"),
        ({"shard": 1}, "another data file"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(writer, changes, message):
    some = {"a": np.ones((2, 3), np.float32)}
    with pytest.raises(ParameterError, match=message):
        tensors_of(*writer.checkpoint(some, **changes))


def test_a_sharded_or_big_endian_checkpoint_is_refused(writer):
    for header in (writer.number(1, 2), writer.number(1, 1) + writer.number(2, 1), b""):
        with pytest.raises(ParameterError, match="only one little-endian file"):
            tensors_of(*writer.checkpoint(tensors(), header=header))


def test_a_compressed_block_is_refused(writer):
    with pytest.raises(ParameterError, match="compressed"):
        dict(table_entries(writer.table([(0, b"a", b"1")], kind=1)))


def test_one_block_named_often_is_refused(writer):
    with pytest.raises(ParameterError, match="overlaps"):
        list(table_entries(writer.table([(0, b"a", b"1")], repeats=2)))


def test_keys_that_grow_on_one_another_are_refused(writer):
    entries = [(i, b"k", b"") for i in range(5000)]
    tracemalloc.start()
    with pytest.raises(ParameterError, match="a key has more than"):
        list(table_entries(writer.table(entries)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MAX_EXTRA_BYTES


def test_one_place_named_by_many_tensors_is_refused(writer):
    """Otherwise 64 kB of index could ask for the checksum of 256 MB a thousand times."""
    entry = writer.entry(np.zeros(1000, np.float32), 0)
    entries = [(0, b"", writer.number(1, 1)), *((0, b"%04d" % i, entry) for i in range(1000))]
    with pytest.raises(ParameterError, match="more bytes than the data"):
        tensors_of(writer.table(entries), bytes(4000))


@pytest.mark.parametrize("claimed", [(1 << 63), (1 << 31), 200])
def test_lengths_beyond_the_table_allocate_nothing(writer, claimed):
    length = writer.varint(claimed)
    value_too_long = b"\0\x01" + length + b"k"
    key_too_long = b"\0" + length + b"\0k"
    restarts = (0).to_bytes(4, "little") + (1).to_bytes(4, "little")
    for body in (value_too_long, key_too_long):
        handle = writer.varint(0) + writer.varint(len(body + restarts))
        table = writer.assemble(
            writer.stored_block(body + restarts), writer.block([(0, b"z", handle)])
        )
        tracemalloc.start()
        with pytest.raises(ParameterError, match="reaches beyond its block"):
            list(table_entries(table))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MAX_EXTRA_BYTES


@settings(max_examples=200, deadline=None)
@given(message=st.binary(max_size=60))
def test_any_message_is_read_or_refused(message):
    try:
        fields = message_fields(message)
    except ParameterError:
        return
    assert sum(len(values) for values in fields.values()) <= len(message)


@settings(max_examples=200, deadline=None)
@given(block=st.binary(max_size=60))
def test_any_block_is_read_or_refused(writer, block):
    """Its checksum is right: what is in it must be looked at all the same."""
    table = writer.assemble(b"", block)
    try:
        list(table_entries(table))
    except ParameterError:
        return


def test_truncated_files_are_refused(tmp_path, writer):
    index, data = writer.checkpoint(tensors())
    for n_bytes in range(0, len(index), 5):
        with pytest.raises(ParameterError):
            tensors_of(index[:n_bytes], data)
    with pytest.raises(ParameterError, match="more bytes than the data"):
        tensors_of(index, data[:-1])


def test_missing_and_huge_files_are_refused(tmp_path):
    with pytest.raises(ParameterError, match="cannot be read"):
        read_checkpoint(tmp_path)
    (tmp_path / INDEX_NAME).write_bytes(b"\0" * (MAX_INDEX_BYTES + 1))
    with pytest.raises(ParameterError, match="is larger than"):
        read_checkpoint(tmp_path)
    (tmp_path / INDEX_NAME).write_bytes(b"\0" * 100)
    with (tmp_path / DATA_NAME).open("wb") as file:
        file.truncate(1000)
    assert MAX_DATA_BYTES > 10_000_000
    with pytest.raises(ParameterError, match="no table"):
        read_checkpoint(tmp_path)
