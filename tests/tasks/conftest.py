"""Stores small enough to make by hand: synthetic sound, and models that were never trained."""

import gc
import shutil
import tracemalloc
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from musichash_core.config import parse_config
from musichash_core.records import partition_of
from storage.store import create_store

SETTINGS = {
    "front_end": "numba",
    "features": {"n_mels": 32},
    "decode": {"min_duration_s": 0.5},
    "partitions": {"max_tracks": 2},
    "models": {
        "encoder": "hpss-cnn",
        "segments": {"n_frames": 32, "max_per_track": 3},
        "genre_cnn": {"widths": [4, 4]},
        "crnn_hash": {"n_bits": 32, "n_maps": 2, "map_shape": [4, 4], "n_hidden": 8, "n_pooled": 8},
        "training": {
            "n_threads": 1,
            "genre_stage": {"epochs": 1},
            "hash_stage": {"epochs": 1},
        },
    },
}


@pytest.fixture(scope="session")
def config():
    """Settings under which everything takes a moment."""
    return parse_config(SETTINGS, source="the tests")


@pytest.fixture(scope="session")
def described_config():
    """The default encoder and the default features, which it needs."""
    settings = {name: SETTINGS[name] for name in ("front_end", "decode", "partitions")}
    heads = {"n_perceptrons": 1, "n_hidden": 8, "epochs": 2, "min_steps": 2}
    return parse_config(settings | {"models": {"heads": heads}}, source="the tests")


@pytest.fixture
def store(tmp_path):
    """An empty store."""
    create_store(tmp_path / "store")
    return str(tmp_path / "store")


class Sounds(NamedTuple):
    """A catalogue of synthetic sound."""

    root: Path
    maker: object

    def add(self, path, hz, *, duration_s=1.5, sr=22_050):
        """Write a tone with a little noise; its bytes follow from its name."""
        seed = sum(path.encode())
        y = self.maker.tone(hz, duration_s=duration_s, sr=sr, level=0.4)
        y += self.maker.noise(seed, duration_s=duration_s, sr=sr, level=0.02)
        return self.maker.write(f"{self.root.name}/{path}", y.astype(np.float32), sr)

    def add_text(self, path):
        """Write a file that is no audio, whatever it is called."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"no audio: {path}")
        return place


@pytest.fixture
def catalogue(sounds, tmp_path):
    """An empty catalogue to add sound to."""
    (tmp_path / "catalogue").mkdir()
    return Sounds(tmp_path / "catalogue", sounds)


@pytest.fixture
def three_tracks(catalogue):
    """Two tracks, and one that is no audio."""
    catalogue.add("low/a.wav", 220)
    catalogue.add("high/b.wav", 1760)
    catalogue.add_text("high/c.mp3")
    return catalogue


def _partitions(store, root, config):
    """Scan, record and plan; give the partitions of one track or more."""
    from tasks.plan import make_plan
    from tasks.scan import look, record

    found = look(store, [str(root)])
    record(store, found.catalogue)
    return make_plan(store, found.catalogue, config).partitions


@pytest.fixture
def partitions_below():
    """Scan a folder into a store; give the partitions to extract."""
    return _partitions


@pytest.fixture
def partition_below():
    """Scan a folder into a store; give one partition of all its tracks."""

    def one(store, root, config):
        partitions = _partitions(store, root, config)
        return partition_of([item for partition in partitions for item in partition.items])

    return one


@pytest.fixture
def with_model(config):
    """Put models with random weights that know the genres "high" and "low" into a store."""
    import torch

    from musichash_core.inference import build_models
    from storage.checkpoints import save_models
    from storage.generations import select_generation
    from storage.store import open_store

    def put(store):
        torch.manual_seed(3)
        models = build_models(config.models, ["high", "low"], n_channels=3, n_mels=32)
        for parameter in [*models.genre_cnn.parameters(), *models.crnn_hash.parameters()]:
            torch.nn.init.normal_(parameter, std=0.3)
        layout = open_store(store)
        generation = save_models(
            layout, models, feature_fingerprint=config.feature_fingerprint, summary={}
        )
        select_generation(layout, generation)
        return generation

    return put


class Published(NamedTuple):
    """A store with a snapshot of everything in a catalogue."""

    store: str
    root: Path
    generation: str


@pytest.fixture
def publish_all(config, store, with_model, partitions_below):
    """Extract, encode and publish everything below a folder, as a run does."""
    from storage.runs import start_run
    from storage.store import open_store
    from tasks.encode import encode_partition, partitions_to_encode
    from tasks.extract import extract_partition
    from tasks.index import publish

    def run(root):
        generation = with_model(store)
        partitions = partitions_below(store, root, config)
        done = [extract_partition(store, partition, config) for partition in partitions]
        todo, _ = partitions_to_encode(store, config.feature_fingerprint, generation)
        for name in todo:
            encode_partition(store, name, config.feature_fingerprint, generation)
        n_done = sum(summary.n_done for summary in done)
        publish(store, config, start_run(open_store(store)), n_done=n_done, n_reused=0)
        return Published(store, root, generation)

    return run


@pytest.fixture
def publish_described(described_config, store, partitions_below):
    """Extract, describe, train, encode and publish everything below a folder, as a run does."""
    from storage.runs import start_run
    from storage.store import open_store
    from tasks.describe import describe_partition, partitions_to_describe
    from tasks.encode import encode_partition, partitions_to_encode
    from tasks.extract import extract_partition
    from tasks.index import publish
    from tasks.train import train

    def run(root):
        config, fingerprint = described_config, described_config.feature_fingerprint
        partitions = partitions_below(store, root, config)
        n_done = sum(extract_partition(store, part, config).n_done for part in partitions)
        for name in partitions_to_describe(store, fingerprint)[0]:
            describe_partition(store, name, fingerprint)
        generation = train(store, config).generation
        for name in partitions_to_encode(store, fingerprint, generation)[0]:
            encode_partition(store, name, fingerprint, generation)
        publish(store, config, start_run(open_store(store)), n_done=n_done, n_reused=0)
        return Published(store, root, generation)

    return run


@pytest.fixture
def second_model(config):
    """Store another model with random weights, of longer codes and other genres; select nothing."""
    import torch

    from musichash_core.inference import build_models
    from storage.checkpoints import save_models
    from storage.store import open_store

    def put(store, *, seed=5, genres=("high", "middle"), summary=None):
        torch.manual_seed(seed)
        network = config.models.crnn_hash.model_copy(update={"n_bits": 64})
        settings = config.models.model_copy(update={"crnn_hash": network})
        models = build_models(settings, list(genres), n_channels=3, n_mels=32)
        for parameter in [*models.genre_cnn.parameters(), *models.crnn_hash.parameters()]:
            torch.nn.init.normal_(parameter, std=0.3)
        return save_models(
            open_store(store),
            models,
            feature_fingerprint=config.feature_fingerprint,
            summary=summary or {},
        )

    return put


class Generations(NamedTuple):
    """A published store, and a second generation that one partition has no codes of."""

    store: str
    first: str
    second: str


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Folder for what several tests begin with."""
    return tmp_path_factory.mktemp("once") / "store"


@pytest.fixture
def two_generations(request, made_once, tmp_path, config):
    """Give a copy of a store of eight tracks and a failed one, see `Generations`."""
    from storage.generations import list_generations, selected_generation
    from storage.store import open_store
    from tasks.encode import encode_partition, partitions_to_encode

    if not made_once.exists():
        catalogue = request.getfixturevalue("catalogue")
        for number in range(8):
            catalogue.add(f"{'high' if number % 2 else 'low'}/{number}.wav", 200 * 1.4**number)
        catalogue.add_text("low/no-audio.mp3")
        published = request.getfixturevalue("publish_all")(catalogue.root)
        second = request.getfixturevalue("second_model")(published.store)
        fingerprint = config.feature_fingerprint
        for name in partitions_to_encode(published.store, fingerprint, second)[0][1:]:
            encode_partition(published.store, name, fingerprint, second)
        shutil.copytree(published.store, made_once)
    store = str(tmp_path / "two-generations")
    shutil.copytree(made_once, store)
    first = selected_generation(open_store(store))
    (second,) = set(list_generations(open_store(store))) - {first}
    return Generations(store, first, second)


@pytest.fixture
def peaks_of():
    """Measure what some work needs: bytes that Arrow, and that Python and NumPy held."""

    def peaks_of(work, *arguments):
        gc.collect()
        before = pa.default_memory_pool()
        pool = pa.proxy_memory_pool(before)
        pa.set_memory_pool(pool)
        tracemalloc.start()
        try:
            work(*arguments)
            return np.array([pool.max_memory(), tracemalloc.get_traced_memory()[1]])
        finally:
            tracemalloc.stop()
            pa.set_memory_pool(before)

    return peaks_of
