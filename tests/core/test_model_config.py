"""Settings of the models: what is refused, and that reading them costs little."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from musichash_core.model_config import LossConfig, ModelConfig


def test_settings_survive_json_and_cannot_be_changed():
    config = ModelConfig(genre_cnn={"widths": [24, 32]}, segments={"n_frames": 64})
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValidationError, match="frozen"):
        config.genre_cnn.dropout = 0.5


def test_reading_settings_does_not_import_torch():
    code = "import sys, musichash_core.model_config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "values",
    [
        {"genre_cnn": {"widths": (2, 8)}},
        {"genre_cnn": {"kernel_size": 4}},
        {"genre_cnn": {"depth": 5}},
        {"genre_cnn": {"widths": (16,) * 5}},
        {"segments": {"n_frames": 32}, "genre_cnn": {"widths": (32,) * 6}},
        {"crnn_hash": {"n_bits": 60}},
        {"crnn_hash": {"map_shape": (0, 12)}},
        {"training": {"hash_stage": {"crops_per_batch": 13}}},
        {"crnn_hash": {"head": "centres"}},
        {"loss": {"kind": "ortho"}, "crnn_hash": {"head": "tanh"}},
        {"crnn_hash": {"recurrent": "none", "shuffled_steps": True}},
        {"crnn_hash": {"recurrent": "time", "shuffled_steps": True}},
    ],
)
def test_settings_that_do_not_fit_are_refused(values):
    with pytest.raises(ValidationError):
        ModelConfig(**values)


def test_the_head_follows_the_kind_of_the_loss():
    config = ModelConfig(loss={"kind": "ortho"}, crnn_hash={"n_bits": 32})
    assert (config.crnn_hash.head, config.crnn_hash.n_bits) == ("centres", 32)
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config
    assert ModelConfig(loss=LossConfig(kind="ortho")).crnn_hash.head == "centres"
    assert ModelConfig().crnn_hash.head == "tanh"
    with pytest.raises(ValidationError, match="want 'centres', or leave it out"):
        ModelConfig(loss={"kind": "ortho"}, crnn_hash={"head": "tanh"})


def test_settings_written_before_a_key_existed_mean_its_default():
    values = ModelConfig().model_dump()
    del values["label_kind"], values["training"]["mixed_precision"]
    for key in ("blocks", "shuffled_steps", "head"):
        del values["crnn_hash"][key]
    for key in ("kind", "centre_similarity_weight", "cosine_margin"):
        del values["loss"][key]
    assert ModelConfig(**values) == ModelConfig()
