"""A catalogue that does not fit into memory is published like one that does.

Two stores live through the same nights: one puts its tables together in one piece, the other a few
tracks at a time. After each night their tables and indexes are the same, to the byte.
"""

from hashlib import blake2b

import numpy as np
import pytest

from musichash_core.inference import EncodedTrack
from musichash_core.records import SourceFile, TrackFailure
from storage import id_ranges
from storage.catalogue import Catalogue, CatalogueRow, write_catalogue
from storage.encoded_store import write_encoded
from storage.feature_store import FeaturePartitionWriter, StoredTrack
from storage.generations import read_model_card
from storage.snapshots import current_snapshot
from storage.store import create_store, open_store
from tasks.index import publish
from tasks.ledger import begin_run

GENRES = ("high", "low")
FEW_ROWS = 5


def id_of(number):
    return blake2b(str(number).encode(), digest_size=16).hexdigest()


class Owner:
    """A catalogue that changes, and the store that follows it."""

    def __init__(self, store, config, generation):
        self.store, self.config, self.generation = store, config, generation
        self.layout = open_store(store)
        self.files = {}
        self.done, self.failed = set(), set()
        card = read_model_card(self.layout, generation)
        self.n_bits = int(card["config"]["crnn_hash"]["n_bits"])

    def put(self, path, number, label=None):
        self.files[path] = number, label

    def extract(self, name, numbers, failing=()):
        """Store what extraction and encoding give for some tracks."""
        fingerprint, n_mels = self.config.feature_fingerprint, self.config.features.n_mels
        folder = self.layout.feature_partition_path(fingerprint, name)
        numbers = sorted(numbers, key=id_of)
        with FeaturePartitionWriter(folder, fingerprint=fingerprint, n_mels=n_mels) as writer:
            for number in numbers:
                first_frame = writer.n_frames
                writer.append_frames(np.full((1, 3, n_mels), number % 200, np.uint8))
                writer.finish_track(_stored(number, first_frame))
            for number in failing:
                writer.fail_track(
                    TrackFailure(id_of(number), f"/music/{number}", "extract", "truncated", "short")
                )
        write_encoded(
            self.layout.encoded_partition_path(self.generation, name),
            [(id_of(number), self._encoded(number)) for number in numbers],
            generation=self.generation,
            genres=GENRES,
            n_bits=self.n_bits,
        )
        self.done.update(numbers)
        self.failed = (self.failed | set(failing)) - self.done

    def _encoded(self, number):
        rng = np.random.default_rng(number)
        share = np.float32(rng.uniform(0.1, 0.9))
        logits = rng.standard_normal(self.n_bits).astype(np.float32)
        return EncodedTrack(np.array([share, 1 - share], np.float32), logits, 3)

    def publish(self, unreadable=()):
        """Publish the catalogue as it is; give the digests of all that is published."""
        rows = [
            CatalogueRow(SourceFile(id_of(number), "/music", path, path.encode(), number, 1), label)
            for path, (number, label) in sorted(self.files.items())
        ]
        failures = [
            TrackFailure("", f"/music/{path}", "scan", "permission", "no") for path in unreadable
        ]
        write_catalogue(self.layout, Catalogue(rows, failures))
        n_done = len({number for number, _ in self.files.values()} & self.done)
        with begin_run(self.store) as run:
            published = publish(self.store, self.config, run.record, n_done=n_done, n_reused=0)
            run.record = published.record
        snapshot = current_snapshot(self.layout)
        tables = {name: paths for name, paths in snapshot.tables.items() if name != "runs"}
        record = published.record
        account = record.seen, record.done, record.failed, record.removed
        return snapshot.digest, tables, snapshot.index, snapshot.counts, account


def _stored(number, first_frame):
    return StoredTrack(
        track_id=id_of(number),
        first_frame=first_frame,
        n_frames=1,
        duration_s=1.0 + number,
        sr=44_100,
        n_channels=2,
        container="wav",
        codec="PCM_16",
        peak=0.5,
        rms_db=-20.0,
        warnings=["length-differs"] if number % 3 else [],
    )


def first_night(owner):
    for number in range(40):
        owner.put(f"pop/{number}.ogg", number, "pop")
    for number in range(0, 40, 7):
        owner.put(f"again/{number}.ogg", number)
    owner.extract("aaaa", range(30), failing=(38,))
    owner.extract("bbbb", range(30, 38), failing=(39,))
    return owner.publish(unreadable=("locked.ogg", "broken.ogg"))


def changes(owner):
    for number in range(5, 12):
        del owner.files[f"pop/{number}.ogg"]
    for number in range(50, 60):
        owner.put(f"rock/{number}.ogg", number, "rock")
    owner.extract("0000", [*range(50, 60), 20, 21])  # comes before the others by name
    owner.extract("cccc", (39,))  # failed before
    return owner.publish()


def nothing(owner):
    return owner.publish()


def comes_back(owner):
    owner.put("pop/again.ogg", 8)
    del owner.files["pop/20.ogg"]
    return owner.publish(unreadable=("locked.ogg",))


@pytest.mark.parametrize("sizes", [(FEW_ROWS, 7), (1, 1)])
def test_nights_a_few_tracks_at_a_time_are_those_in_one_piece(
    tmp_path, config, with_model, monkeypatch, sizes
):
    config = config.model_copy(update={"max_failed_share": 0.5})
    owners = []
    for name in ("whole", "pieces"):
        store = str(tmp_path / name)
        create_store(store)
        owners.append(Owner(store, config, with_model(store)))
    range_rows, buffer_rows = sizes
    for night in (first_night, changes, nothing, comes_back):
        whole = night(owners[0])
        with monkeypatch.context() as patch:
            patch.setattr(id_ranges, "RANGE_ROWS", range_rows)
            patch.setattr(id_ranges, "BUFFER_ROWS", buffer_rows)
            pieces = night(owners[1])
        assert pieces == whole
