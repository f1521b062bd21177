"""Which device torch computes on, and in which precision."""

import pytest
import torch

from musichash_core.compute_device import choose_device, mixed_precision
from musichash_core.errors import ParameterError

HAS_CUDA = torch.cuda.is_available()


def test_auto_takes_cuda_where_there_is_any():
    assert choose_device("auto").type == ("cuda" if HAS_CUDA else "cpu")
    assert choose_device("cpu").type == "cpu"


@pytest.mark.parametrize(
    "name",
    [
        "gpu!",
        "meta",
        pytest.param("cuda", marks=pytest.mark.skipif(HAS_CUDA, reason="this machine has CUDA")),
    ],
)
def test_devices_that_are_not_there_are_refused(name):
    with pytest.raises(ParameterError, match=f"device='{name}'"):
        choose_device(name)


def test_a_cpu_computes_in_float32_whatever_is_wanted():
    one = torch.ones(2, 2)
    with mixed_precision(torch.device("cpu"), is_wanted=True):
        assert (one @ one).dtype == torch.float32


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA, reason="no CUDA device")
@pytest.mark.parametrize("is_wanted", [True, False])
def test_a_cuda_device_multiplies_in_bfloat16_when_wanted(is_wanted):
    one = torch.ones(2, 2, device="cuda")
    with mixed_precision(one.device, is_wanted=is_wanted):
        assert (one @ one).dtype == (torch.bfloat16 if is_wanted else torch.float32)
