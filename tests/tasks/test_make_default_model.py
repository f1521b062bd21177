"""The default model is made of whole tracks' descriptions, each content once, in any order."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from musichash_core.config import PipelineConfig
from musichash_core.descriptor_models.hash_head import fit_detail_basis
from musichash_core.descriptors import N_DESCRIPTORS, TrackDescription, description_fingerprint
from musichash_core.errors import ParameterError
from storage.description_store import write_descriptions
from storage.store import create_store
from tasks.make_default_model import main, make_default_model


def stored(folder, vectors, first):
    layout = create_store(folder)
    fingerprint = PipelineConfig().feature_fingerprint
    described = [
        (
            f"{first + number:032x}",
            [TrackDescription(vector, np.zeros(50, np.float32), 4)] * 3,
        )
        for number, vector in enumerate(vectors)
    ]
    place = layout.description_partition_path(fingerprint, description_fingerprint(), "0" * 16)
    write_descriptions(
        place,
        described,
        fingerprint=place.parent.name,
        n_descriptors=N_DESCRIPTORS,
        n_tags=50,
    )
    return str(folder)


def test_stores_are_joined_and_each_track_counts_once(tmp_path):
    vectors = np.random.default_rng(1).standard_normal((90, N_DESCRIPTORS)).astype(np.float32)
    stores = [
        stored(tmp_path / "a", vectors[:50], 0),
        stored(tmp_path / "b", vectors[40:], 40),
    ]
    main([*("--store", stores[1]), *("--store", stores[0]), "--output", str(tmp_path)])
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["n_tracks"] == 90
    made = load_file(tmp_path / "detail_basis.safetensors")
    for name, expected in fit_detail_basis(vectors)._asdict().items():
        np.testing.assert_array_equal(made[name], expected.numpy())


def test_too_few_tracks_are_refused(tmp_path):
    store = stored(tmp_path / "a", np.ones((3, N_DESCRIPTORS), np.float32), 0)
    with pytest.raises(ParameterError, match="3 tracks: want more than 64"):
        make_default_model([store], tmp_path)
