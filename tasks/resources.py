"""What a worker process keeps between units of work, and how its threads are pinned.

Public: `check_decoder`, `decoder_box`, `loaded_models`, `tagging_network`, `warm_worker`,
`code_fingerprint`.
"""

import gc
import hashlib
import importlib
import threading
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from musichash_core.decode import DecodeConfig, DecoderBox
from musichash_core.descriptors import DESCRIPTION_NETWORK
from musichash_core.kernel_warmup import warm_kernels
from storage.store import open_store

if TYPE_CHECKING:  # importing it loads torch, which most stages do not need
    from musichash_core.musicnn.networks import MusiCNN
    from storage.checkpoints import StorableModels

PACKAGES = ("flows", "tasks", "storage", "musichash_core")


USUAL_COLLECTION = (700, 10, 10)
"""Thresholds of the garbage collector as Python sets them, for work that makes large arrays."""


def warm_worker() -> None:
    """Load the compiled kernels and the storage engines, so that no track pays for it.

    What is loaded stays, and the garbage collector need not look through it again.
    """
    importlib.import_module("storage.feature_store")
    warm_kernels()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*USUAL_COLLECTION)


def check_decoder(config: DecodeConfig) -> None:
    """Start a decoder process once, so that a sandbox that is not to be had is noticed early.

    Raises
    ------
    BoxStartError, ConfigError
        If a sandbox is asked for, and none can be started on this machine.
    """
    if config.sandbox != "off":
        with DecoderBox(config) as box:
            box.start()


_OF_THIS_THREAD = threading.local()


def decoder_box(config: DecodeConfig) -> DecoderBox:
    """Give the decoder process of this thread; it is kept until other limits are asked for."""
    box: DecoderBox | None = getattr(_OF_THIS_THREAD, "box", None)
    if box is None or box.config != config:
        if box is not None:
            box.close()
        box = _OF_THIS_THREAD.box = DecoderBox(config)
    return box


@lru_cache(maxsize=2)
def loaded_models(store: str, generation: str, feature_fingerprint: str) -> "StorableModels":
    """Load a model generation once per process, for use on one thread."""
    import torch

    from storage.checkpoints import load_models

    torch.set_num_threads(1)
    return load_models(open_store(store), generation, feature_fingerprint=feature_fingerprint)


@cache
def tagging_network() -> "MusiCNN":
    """Load the network that descriptions are made with once per process, for use on one thread."""
    import torch

    from musichash_core.musicnn.networks import MusiCNN
    from musichash_core.musicnn.pretrained import load_musicnn

    torch.set_num_threads(1)
    network = load_musicnn(DESCRIPTION_NETWORK)
    assert isinstance(network, MusiCNN)
    return network


@cache
def code_fingerprint() -> str:
    """Hash the project's version and source, so that workers running other code are noticed.

    Kept from the first call on: a worker that has been running since before an upgrade still runs
    the old code, whatever its files say now.
    """
    digest = hashlib.sha256(version("musichash").encode())
    top = Path(__file__).parent.parent
    for package in PACKAGES:
        for path in sorted((top / package).rglob("*.py")):
            digest.update(path.relative_to(top).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
