"""Products of bands and a matrix, against np.einsum in double precision."""

import numpy as np
import pytest

from musichash_core.descriptors.band_products import multiply_bands


@pytest.mark.parametrize("n_frames", [0, 1, 15, 16, 17, 500])
@pytest.mark.parametrize("width", [1, 16, 41])
def test_blocks_make_up_the_whole_product(random_frames, n_frames, width):
    frames = random_frames(max(1, n_frames))[:n_frames]
    matrix = np.random.default_rng(width).normal(size=(128, width)).astype(np.float32)
    product = multiply_bands(frames, matrix)
    expected = np.einsum("tcm,md->tcd", frames.astype(float), matrix.astype(float))
    assert product.shape == (n_frames, 3, width)
    assert product.dtype == np.float32
    np.testing.assert_allclose(product, expected, rtol=0, atol=0.01)
