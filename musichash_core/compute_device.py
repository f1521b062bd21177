"""Where torch computes, in which precision, and how to get the same result again.

Public: `choose_device`, `mixed_precision`, `reproducible_torch`.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from musichash_core.errors import ParameterError


def choose_device(name: str) -> torch.device:
    """Give the device of a name; "auto" is a CUDA device where there is one, else the CPU.

    Raises
    ------
    ParameterError
        Torch knows no such device, or this machine has none.
    """
    has_cuda = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if has_cuda else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ParameterError(f"device={name!r}: want 'auto', 'cpu' or 'cuda'") from error
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not has_cuda):
        raise ParameterError(
            f"device={name!r}: this machine has {'CPU and CUDA' if has_cuda else 'the CPU only'}; "
            "'auto' takes what there is"
        )
    return device


def mixed_precision(device: torch.device, *, is_wanted: bool) -> AbstractContextManager[object]:
    """Give the context in which networks compute forwards: bfloat16 products on CUDA devices.

    Bfloat16 has float32's range, so that gradients need no scaling. CPUs, and CUDA devices without
    bfloat16, stay in float32.
    """
    if is_wanted and device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


@contextmanager
def reproducible_torch(seed: int, n_threads: int, device: torch.device) -> Iterator[None]:
    """Seed torch, fix its threads and its algorithms; put everything back afterwards.

    On a GPU some algorithms have no reproducible form: there a run may differ in the last digits.
    """
    threads = torch.get_num_threads()
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    on_cpu = device.type == "cpu"
    with torch.random.fork_rng(devices=[] if on_cpu else [torch.cuda.current_device()]):
        torch.manual_seed(seed)
        torch.set_num_threads(n_threads)
        torch.use_deterministic_algorithms(on_cpu)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(was_deterministic)
