"""Counting texts: compared with a Python set."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.distinct_texts import count_distinct

ids = st.binary(min_size=16, max_size=16).map(bytes.hex)
close_ids = st.sampled_from(
    ["0" * 32, "00" * 15 + "01", "01" + "00" * 15, "0" * 31, "A" * 32, "a" * 32]
)
texts = st.none() | st.text(max_size=3) | ids | close_ids | st.just(" " + "a" * 31)


@settings(max_examples=50)
@given(st.lists(st.lists(texts, max_size=12), max_size=5))
def test_texts_are_counted_as_a_set_counts_them(parts):
    every = [text for part in parts for text in part]
    arrays = [pa.array(part, pa.string()) for part in parts]
    assert count_distinct(iter(arrays), len(every)) == len({*every} - {None})
