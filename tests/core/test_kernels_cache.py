"""The cache of compiled kernels: private, and no reason to fail when it is damaged."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from musichash_core import kernels_cache
from musichash_core.errors import ParameterError
from musichash_core.kernels_cache import kernel, kernel_cache_state, use_kernel_cache

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def own_state(monkeypatch):
    """Let each test choose a cache, and give the process its own back."""
    monkeypatch.setattr(kernels_cache, "_state", None)


@pytest.fixture
def place(tmp_path):
    return tmp_path / "kernels"


def make_doubler(variant=""):
    def double(x):
        return 2 * x

    return kernel(double, variant=variant)


def entries(place):
    return sorted(place.rglob("*.kernel"))


def test_a_kernel_is_compiled_once_and_loaded_afterwards(place):
    state = use_kernel_cache(place)
    assert make_doubler()(4.0) == 8.0
    assert (state.n_compiled, state.n_loaded, len(entries(place))) == (1, 0, 1)
    assert make_doubler()(5.0) == 10.0
    assert (state.n_compiled, state.n_loaded, len(entries(place))) == (1, 1, 1)


def test_signatures_and_variants_have_their_own_entries(place):
    state = use_kernel_cache(place)
    make_doubler()(4.0)
    make_doubler()(4)
    make_doubler("other")(4.0)
    assert (state.n_compiled, len(entries(place))) == (3, 3)


def flip_a_bit(contents):
    middle = len(contents) // 2
    return contents[:middle] + bytes([contents[middle] ^ 1]) + contents[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [flip_a_bit, lambda contents: contents[:-100], lambda contents: b"", lambda _: b"x" * 99],
)
def test_a_damaged_entry_is_replaced(place, damage):
    state = use_kernel_cache(place)
    make_doubler()(4.0)
    (entry,) = entries(place)
    sound = entry.read_bytes()
    entry.write_bytes(damage(sound))
    assert make_doubler()(4.0) == 8.0
    assert (state.n_damaged, state.n_compiled) == (1, 2)
    assert make_doubler()(4.0) == 8.0
    assert (state.n_damaged, state.n_loaded) == (1, 1)


def test_a_sound_entry_that_numba_cannot_use_is_replaced(place):
    state = use_kernel_cache(place)
    make_doubler()(4.0)
    (entry,) = entries(place)
    kernels_cache._write_entry(entry, kernels_cache._dumps(("of", "another", "version")))
    assert make_doubler()(4.0) == 8.0
    assert (state.n_damaged, state.n_compiled) == (1, 2)


def test_a_full_disk_costs_nothing_but_time(place, monkeypatch):
    def fail(path, payload):
        raise OSError(28, "No space left on device")

    state = use_kernel_cache(place)
    monkeypatch.setattr(kernels_cache, "_write_entry", fail)
    assert make_doubler()(4.0) == 8.0
    assert (state.n_unsaved, entries(place)) == (1, [])


def test_an_unfinished_entry_is_removed(place, monkeypatch):
    def fail(self, target):
        raise OSError(5, "Input/output error")

    use_kernel_cache(place)
    monkeypatch.setattr(Path, "replace", fail)
    make_doubler()(4.0)
    assert [path for path in place.rglob("*") if path.is_file()] == []


def test_entries_are_private(place):
    use_kernel_cache(place)
    make_doubler()(4.0)
    for path in [place, *place.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0


def test_a_directory_open_to_others_is_refused(place):
    place.mkdir(mode=0o700)
    place.chmod(0o755)
    with pytest.raises(ParameterError, match="mode 0700"):
        use_kernel_cache(place)


def test_a_link_is_refused(place, tmp_path):
    (tmp_path / "theirs").mkdir(mode=0o700)
    place.symlink_to(tmp_path / "theirs")
    with pytest.raises(ParameterError, match="must be a directory"):
        use_kernel_cache(place)


def test_a_file_is_refused(place):
    place.write_text("")
    with pytest.raises(ParameterError, match="kernels"):
        use_kernel_cache(place)


def test_a_parent_open_to_others_is_refused(tmp_path):
    parent = tmp_path / "shared"
    parent.mkdir()
    parent.chmod(0o777)
    with pytest.raises(ParameterError, match="lets other users replace"):
        use_kernel_cache(parent / "kernels")
    parent.chmod(0o1777)  # sticky, like /tmp: others cannot rename what is ours
    use_kernel_cache(parent / "kernels")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_refused(place):
    place.mkdir(mode=0o700)
    os.chown(place, 12345, 12345)
    with pytest.raises(ParameterError, match="user 12345"):
        use_kernel_cache(place)


def test_without_a_usable_default_kernels_are_compiled_in_memory(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(kernels_cache.numba.config, "CACHE_DIR", str(tmp_path / "file"))
    state = kernel_cache_state()
    assert state.directory is None
    assert "file" in state.reason
    assert make_doubler()(4.0) == 8.0
    assert (state.n_compiled, state.n_loaded) == (1, 0)


def test_the_default_is_below_numbas_directory_or_the_home(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels_cache.numba.config, "CACHE_DIR", str(tmp_path))
    assert kernels_cache.default_cache_directory() == tmp_path / "musichash"
    monkeypatch.setattr(kernels_cache.numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kernels_cache.default_cache_directory() == tmp_path / ".cache" / "musichash" / "kernels"


def test_other_sources_have_other_entries(place, monkeypatch):
    use_kernel_cache(place)
    make_doubler()(4.0)
    monkeypatch.setattr(kernels_cache, "_sources_digest", lambda: "0" * 64)
    state = use_kernel_cache(place)
    make_doubler()(4.0)
    assert (state.n_compiled, state.n_loaded) == (1, 0)


def test_every_module_with_kernels_counts_for_the_digest():
    """A kernel may call kernels of other modules, so a change of any of them must recompile it."""
    package = REPOSITORY / "musichash_core"
    imports = ("import numba", "from numba", "import llvmlite", "from llvmlite")
    with_kernels = {
        path for path in package.rglob("*.py") if any(line in path.read_text() for line in imports)
    }
    assert len(with_kernels) >= 3
    assert with_kernels <= set(kernels_cache._sources_of_kernels())


def run_fresh(place, program, **environment):
    """Run a program in a new process, as a worker that was spawned."""
    code = f"from pathlib import Path\nplace = Path({str(place)!r})\n{program}"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=REPOSITORY,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return result.stdout.split()


WARM_UP = """
import numpy as np
from musichash_core.features import FeatureConfig, extract_features
from musichash_core.kernel_warmup import warm_kernels
from musichash_core.kernels_cache import kernel_cache_state
warmed = warm_kernels(cache_dir=place)
extract_features(np.ones(100_000, dtype=np.float32), FeatureConfig())
then = kernel_cache_state()
print(warmed.n_compiled, then.n_compiled, warmed.n_loaded, then.n_loaded, warmed.n_damaged)
"""


def test_a_worker_loads_what_another_process_compiled(place):
    compiled, compiled_then, *_ = map(int, run_fresh(place, WARM_UP))
    assert compiled_then == compiled > 0
    compiled, compiled_then, loaded, loaded_then, _ = map(int, run_fresh(place, WARM_UP))
    assert compiled == compiled_then == 0
    assert loaded_then == loaded > 0

    for entry in entries(place):
        entry.write_bytes(flip_a_bit(entry.read_bytes()))
    compiled, compiled_then, _, _, damaged = map(int, run_fresh(place, WARM_UP))
    assert damaged == compiled == compiled_then > 0


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="names processors of this family")
def test_every_processor_gives_the_same_bytes(place):
    program = (
        "import hashlib\n"
        "import numpy as np\n"
        "from musichash_core.features import FeatureConfig, extract_mel_power\n"
        "from musichash_core.kernels_cache import use_kernel_cache\n"
        "use_kernel_cache(place)\n"
        "y = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)\n"
        "print(hashlib.sha256(extract_mel_power(y, FeatureConfig())).hexdigest())\n"
    )
    names = ("", "haswell", "x86-64")  # this one; AVX2; SSE2
    digests = {tuple(run_fresh(place, program, NUMBA_CPU_NAME=name)) for name in names}
    assert len(digests) == 1
