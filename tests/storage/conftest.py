"""Small stores: an empty one, and one with a published snapshot of everything a run makes."""

import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from musichash_core.inference import EncodedTrack, build_models
from musichash_core.model_config import ModelConfig
from musichash_core.records import SourceFile, TrackFailure
from musichash_core.segments import SegmentConfig
from storage.atomic import digest_file
from storage.catalogue import Catalogue, CatalogueRow, write_catalogue
from storage.checkpoints import save_models
from storage.encoded_store import write_encoded
from storage.feature_store import FeaturePartitionWriter, StoredTrack
from storage.generations import select_generation
from storage.indexes import CodesOrigin, keyed_codes, write_index
from storage.layout import RECEIPT_NAME
from storage.live_tables import Wanted, collect_tables, write_tables
from storage.runs import finish_run, run_rows, start_run
from storage.schemas import RUNS
from storage.snapshots import Snapshot, content_digest, publish_snapshot
from storage.store import create_store, open_store
from storage.tables import read_part, table_of, write_part

N_MELS = 8
N_BITS = 16
FEATURES = "f" * 12
GENRES = ("blues", "disco")

SMALL_MODELS = ModelConfig.model_validate(
    {
        "encoder": "hpss-cnn",
        "segments": SegmentConfig(n_frames=32),
        "genre_cnn": {"widths": [4, 4]},
        "crnn_hash": {"n_bits": N_BITS, "n_maps": 4, "map_shape": [4, 4], "n_hidden": 8},
    }
)


@pytest.fixture
def layout(tmp_path):
    return create_store(tmp_path / "store")


@pytest.fixture
def kill_points(tmp_path):
    """Give the stores that a writer leaves when it is killed before each of its operations."""

    def run(scenario):
        root = tmp_path / scenario
        root.mkdir()
        script = Path(__file__).with_name("kill_points.py")
        printed = subprocess.run(
            [sys.executable, script, scenario, root], capture_output=True, text=True, check=True
        )
        return [root / str(number) for number in range(int(printed.stdout) + 1)]

    return run


def track_id(number):
    return f"{number:032x}"


def random_frames(n_frames, seed=0):
    rng = np.random.default_rng([seed, n_frames])
    return rng.integers(0, 256, (n_frames, 3, N_MELS), dtype=np.uint8)


def stored_track(number, first_frame, n_frames):
    return StoredTrack(
        track_id=track_id(number),
        first_frame=first_frame,
        n_frames=n_frames,
        duration_s=n_frames * 512 / 22_050,
        sr=44_100,
        n_channels=2,
        container="ogg-vorbis",
        codec="VORBIS",
        peak=0.5,
        rms_db=-20.5,
        warnings=["length-differs"] if number % 2 else [],
        tag_title=f"Title {number}",
        tag_year=1950 + number,
    )


def failure_of(number, *, code="truncated", attempts=1):
    return TrackFailure(
        track_id(number), f"/music/{number}.ogg", "extract", code, "ends early", attempts
    )


@dataclass(frozen=True)
class Helpers:
    """What tests of several modules of `storage` build with."""

    n_mels = N_MELS
    n_bits = N_BITS
    features = FEATURES
    genres = GENRES
    small_models = SMALL_MODELS
    track_id = staticmethod(track_id)
    random_frames = staticmethod(random_frames)
    stored_track = staticmethod(stored_track)
    failure_of = staticmethod(failure_of)

    @staticmethod
    def write_partition(folder, tracks, failures=()):
        """Write a partition of tracks, given by number and frames."""
        with FeaturePartitionWriter(folder, fingerprint=FEATURES, n_mels=N_MELS) as writer:
            for number, frames in tracks.items():
                first_frame = writer.n_frames
                for piece in np.array_split(frames, 3):
                    writer.append_frames(piece)
                writer.finish_track(stored_track(number, first_frame, len(frames)))
            for failure in failures:
                writer.fail_track(failure)

    @staticmethod
    def encoded_track(number):
        rng = np.random.default_rng(number)
        share = np.float32(rng.uniform(0.1, 0.9))
        return EncodedTrack(
            probabilities=np.array([share, 1 - share], np.float32),
            hash_logits=rng.standard_normal(N_BITS).astype(np.float32),
            n_segments=4,
        )

    @staticmethod
    def source_file(number, *, path=None, root="/music"):
        path = path or f"blues/{number}.ogg"
        return SourceFile(track_id(number), root, path, path.encode(), 1000 + number, 5_000)

    @classmethod
    def write_encoded(cls, layout, generation, partition_id, numbers):
        write_encoded(
            layout.encoded_partition_path(generation, partition_id),
            [(track_id(number), cls.encoded_track(number)) for number in numbers],
            generation=generation,
            genres=GENRES,
            n_bits=N_BITS,
        )


@pytest.fixture(scope="session")
def helpers():
    return Helpers()


PARTITIONS = {"p1": (1, 2), "p2": (3,)}


def _publish_small_snapshot(root):
    layout = create_store(root)
    models = build_models(SMALL_MODELS, GENRES, n_channels=3, n_mels=N_MELS)
    generation = save_models(layout, models, feature_fingerprint=FEATURES, summary={"epochs": 3})
    select_generation(layout, generation)
    for name, numbers in PARTITIONS.items():
        Helpers.write_partition(
            layout.feature_partition_path(FEATURES, name),
            {number: random_frames(600, number) for number in numbers},
            [failure_of(9)] if name == "p2" else [],
        )
        Helpers.write_encoded(layout, generation, name, numbers)
    rows = [CatalogueRow(Helpers.source_file(number), "blues") for number in (1, 2, 3, 9)]
    unreadable = TrackFailure("", "/music/locked.ogg", "scan", "permission", "no")
    catalogue = Catalogue(tuple(rows), (unreadable,))
    write_catalogue(layout, catalogue)
    run = finish_run(layout, start_run(layout), state="done")
    with collect_tables(layout, catalogue, Wanted(FEATURES, generation, N_BITS)) as tables:
        stored = write_tables(layout, tables)
    codes = read_part(layout.root / stored.parts["codes"].path)
    parts = stored.parts | {"runs": write_part(layout, "runs", table_of(run_rows([run]), RUNS))}
    written = write_index(
        layout, keyed_codes(codes), CodesOrigin(generation, (parts["codes"].sha256,))
    )
    folders = [layout.model_path(generation)]
    for name in PARTITIONS:
        folders.append(layout.feature_partition_path(FEATURES, name))
        folders.append(layout.encoded_partition_path(generation, name))
    receipts = [digest_file(folder / RECEIPT_NAME, layout.root) for folder in folders]
    snapshot = Snapshot(
        number=0,
        feature_fingerprint=FEATURES,
        generation=generation,
        tables={name: [part.path] for name, part in parts.items()},
        index=written.index.path,
        index_info=written.info.path,
        counts={name: stored.n_rows[name] for name in ("tracks", "codes")},
        files=(*parts.values(), *written.files, *receipts),
    )
    publish_snapshot(layout, replace(snapshot, digest=content_digest(snapshot)))


@pytest.fixture(scope="session")
def _published_template(tmp_path_factory):
    root = tmp_path_factory.mktemp("published") / "store"
    _publish_small_snapshot(root)
    return root


@pytest.fixture
def published(_published_template, tmp_path):
    """A store with one snapshot: two partitions, three tracks, a failed and an unreadable one."""
    root = tmp_path / "published"
    shutil.copytree(_published_template, root)
    return open_store(root)
