"""Running medians against NumPy's symmetric padding with a sort, and against SciPy."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from musichash_core.errors import ParameterError
from musichash_core.median_network import median_network
from musichash_core.medians import MAX_NETWORK, median_rows, reflected_rows, running_median

KERNEL_SIZES = (1, 2, 3, 8, 17, 31, 32, MAX_NETWORK + 2)
SHAPES = ((1,), (5,), (1, 1), (7, 3), (40, 33), (100, 65), (2, 3, 50, 17))


def sorted_windows(x, kernel_size, axis):
    """Take medians the slow way: pad symmetrically, cut every window, sort it."""
    before = kernel_size // 2
    width = [(0, 0)] * x.ndim
    width[axis] = (before, kernel_size - 1 - before)
    padded = np.pad(x, width, mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel_size, axis=axis)
    return np.sort(windows, axis=-1)[..., kernel_size // 2]


@pytest.fixture
def rng():
    return np.random.default_rng(20)


@pytest.mark.parametrize("kernel_size", KERNEL_SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def test_median_equals_sorted_windows_along_every_axis(rng, shape, kernel_size):
    x = rng.standard_normal(shape).astype(np.float32).round(1)  # rounded, so that there are ties
    for axis in range(-1, x.ndim):
        medians = running_median(x, kernel_size, axis=axis)
        np.testing.assert_array_equal(medians, sorted_windows(x, kernel_size, axis))


@pytest.mark.parametrize("kernel_size", [2, 31, MAX_NETWORK + 2])
def test_median_in_double_precision_equals_sorted_windows(rng, kernel_size):
    x = rng.standard_normal((70, 41))
    for axis in (0, 1):
        medians = running_median(x, kernel_size, axis=axis)
        assert medians.dtype == np.float64
        np.testing.assert_array_equal(medians, sorted_windows(x, kernel_size, axis))


@pytest.mark.parametrize("kernel_size", KERNEL_SIZES)
@pytest.mark.parametrize("shape", [(90, 33), (33, 120), (1025, 20)])
def test_median_equals_scipy(rng, shape, kernel_size):
    x = rng.standard_normal(shape).astype(np.float32)
    for axis in (0, 1):
        # With kernel_size // 2 >= 4 * length, SciPy 1.17 reads before the array.
        assert kernel_size // 2 < 4 * shape[axis]
        size = [1, 1]
        size[axis] = kernel_size
        reference = ndimage.median_filter(x, size=size, mode="reflect")
        np.testing.assert_array_equal(running_median(x, kernel_size, axis=axis), reference)


@settings(max_examples=60, deadline=None)
@given(
    kernel_size=st.sampled_from([3, 31, 32]),
    length=st.integers(1, 80),
    data=st.data(),
)
def test_median_of_arbitrary_floats_equals_sorted_windows(kernel_size, length, data):
    values = st.floats(allow_nan=False, width=32)
    x = np.array(data.draw(st.lists(values, min_size=length, max_size=length)), dtype=np.float32)
    np.testing.assert_array_equal(running_median(x, kernel_size), sorted_windows(x, kernel_size, 0))


@pytest.mark.parametrize("kernel_size", [*range(1, 34), 61, 64, 129])
def test_network_gives_the_middle_element_of_every_window(rng, kernel_size):
    network = median_network(kernel_size)
    inputs = rng.integers(0, 9, (200, network.n_inputs))
    np.testing.assert_array_equal(run(network, inputs), windows_by_rank(network, inputs))


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5, 7, 9])
def test_network_is_right_for_all_inputs(kernel_size):
    """A comparison network that is right for all zeros and ones is right for everything."""
    network = median_network(kernel_size)
    inputs = np.array(list(itertools.product([0, 1], repeat=network.n_inputs)))
    np.testing.assert_array_equal(run(network, inputs), windows_by_rank(network, inputs))


def run(network, inputs):
    values = dict(enumerate(inputs.T))
    for first, second, low, high in network.exchanges:
        smaller, larger = np.minimum(values[first], values[second]), None
        larger = np.maximum(values[first], values[second])
        values.update({low: smaller, high: larger})
    return np.stack([values[name] for name in network.outputs], axis=1)


def windows_by_rank(network, inputs):
    windows = np.lib.stride_tricks.sliding_window_view(inputs, network.kernel_size, axis=1)
    return np.sort(windows, axis=-1)[..., network.kernel_size // 2]


def test_network_of_31_needs_fewer_comparisons_than_a_sorted_window():
    network = median_network(31)
    assert len(network.exchanges) / network.n_outputs < 23  # a sorted window takes 2 * 31


def test_median_rows_reads_a_ring_buffer(rng):
    signal = rng.standard_normal((300, 20)).astype(np.float32)
    ring = np.zeros((128, 20), dtype=np.float32)
    for frame in range(180, 300):
        ring[frame % 128] = signal[frame]
    out = np.empty((64, 20), dtype=np.float32)
    median_rows(ring, reflected_rows(200, 264, 31, 300) % 128, 31, out)
    np.testing.assert_array_equal(out, sorted_windows(signal, 31, 0)[200:264])


@pytest.mark.parametrize("kernel_size", [1, 4, 31, 200])
@pytest.mark.parametrize("n_rows", [1, 2, 10, 100])
def test_reflected_rows_are_those_of_symmetric_padding(kernel_size, n_rows):
    before = kernel_size // 2
    padded = np.pad(np.arange(n_rows), (before, kernel_size - 1 - before), mode="symmetric")
    np.testing.assert_array_equal(reflected_rows(0, n_rows, kernel_size, n_rows), padded)


def test_median_does_not_mind_strides_and_does_not_write_to_its_input(rng):
    x = rng.standard_normal((120, 90)).astype(np.float32)
    view = x.T[::2, ::-1]
    x.setflags(write=False)
    for axis in (0, 1):
        np.testing.assert_array_equal(
            running_median(view, 31, axis=axis), sorted_windows(view, 31, axis)
        )


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0)])
def test_median_of_nothing_is_nothing(shape):
    x = np.empty(shape, dtype=np.float32)
    assert running_median(x, 31).shape == shape


@pytest.mark.parametrize("kernel_size", [0, -3])
def test_median_of_no_elements_is_refused(kernel_size):
    with pytest.raises(ParameterError, match=f"kernel_size={kernel_size}"):
        running_median(np.ones(5, dtype=np.float32), kernel_size)


def test_nan_is_refused():
    x = np.ones((40, 40), dtype=np.float32)
    x[3, 7] = np.nan
    with pytest.raises(ParameterError, match="NaN"):
        running_median(x, 3)


@pytest.mark.parametrize("x", [np.arange(5), np.float32(1), np.ones(5, dtype=np.float16)])
def test_other_dtypes_and_scalars_are_refused(x):
    with pytest.raises(ParameterError, match="float32 or float64"):
        running_median(np.asarray(x), 3)
