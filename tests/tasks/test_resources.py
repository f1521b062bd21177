"""What a worker process keeps between units of work."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from musichash_core.decode import DecodeConfig
from musichash_core.errors import ConfigError
from musichash_core.process_memory import peak_memory_bytes
from tasks import resources
from tasks.resources import (
    check_decoder,
    code_fingerprint,
    decoder_box,
    loaded_models,
)


def test_models_are_loaded_once_per_process(store, with_model, config):
    generation = with_model(store)
    first = loaded_models(store, generation, config.feature_fingerprint)
    assert loaded_models(store, generation, config.feature_fingerprint) is first


def test_the_code_fingerprint_is_of_the_code_that_was_loaded(monkeypatch):
    """A worker that outlives an upgrade must not read the new code's fingerprint from disk."""
    loaded = code_fingerprint()
    monkeypatch.setattr(resources, "PACKAGES", ("musichash_core",))  # as if files had changed
    assert code_fingerprint() == loaded
    code_fingerprint.cache_clear()
    assert code_fingerprint() != loaded
    code_fingerprint.cache_clear()


def test_peak_memory_is_what_the_kernel_says():
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kernel_bytes = 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
    assert abs(peak_memory_bytes() - kernel_bytes) < 50_000_000  # counted lazily, per thread


def test_a_thread_keeps_its_decoder_until_other_limits_are_asked_for(sounds):
    path = sounds.write("a.wav", sounds.tone())
    config = DecodeConfig()

    def decode():
        box = decoder_box(config)
        with box.open(os.open(path, os.O_RDONLY)) as stream:
            list(stream.blocks())
        return box, box.pid

    box, pid = decode()
    assert decode() == (box, pid)
    with ThreadPoolExecutor(1) as pool:
        other, _ = pool.submit(decode).result()
        assert other is not box
        other.close()
    assert decoder_box(DecodeConfig(min_duration_s=2.0)) is not box
    assert box.pid is None


def test_a_decoder_that_cannot_be_had_is_noticed_at_once(monkeypatch, tmp_path):
    check_decoder(DecodeConfig())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="install the package util-linux"):
        check_decoder(DecodeConfig(sandbox="unshare"))
