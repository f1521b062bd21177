"""What a worker process keeps between units of work."""

import re
from pathlib import Path

from tasks import resources
from tasks.resources import code_fingerprint, loaded_models, peak_memory_bytes


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
