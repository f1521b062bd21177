"""The configuration: every wrong key is named, with what is allowed and the nearest known key."""

import tomllib

import pytest
from pydantic import BaseModel

from musichash_core.config import PipelineConfig, load_config, parse_config
from musichash_core.errors import ConfigError

EXAMPLE = """
max_failed_share = 0.1

[decode]
max_duration_s = 600

[features]
n_mels = 64

[models]
encoder = "hpss-cnn"

[models.genre_cnn]
widths = [32, 64]
"""


def refusal(text):
    with pytest.raises(ConfigError) as caught:
        parse_config(tomllib.loads(text), source="night.toml")
    return str(caught.value)


def test_no_file_gives_the_defaults():
    assert load_config(None) == PipelineConfig()


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path):
    path = tmp_path / "night.toml"
    path.write_text(EXAMPLE)
    config = load_config(path)
    assert config.max_failed_share == 0.1
    assert config.decode.max_duration_s == 600
    assert config.features.n_mels == 64
    assert config.models.genre_cnn.widths == (32, 64)
    assert config.decode.min_duration_s == PipelineConfig().decode.min_duration_s
    assert config.models.training == PipelineConfig().models.training


def test_a_config_survives_json():
    config = parse_config(tomllib.loads(EXAMPLE), source="x")
    assert PipelineConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("[decode]\nmin_duration = 1", "decode.min_duration", "min_duration_s"),
        ("[features]\nn_mel = 64", "features.n_mel", "n_mels"),
        ("[feature]\nn_mels = 64", "feature", "features"),
        ("max_failed = 0.5", "max_failed", "max_failed_share"),
        ("[models.training.genre_stage]\nepoch = 3", "models.training.genre_stage.epoch", "epochs"),
    ],
)
def test_an_unknown_key_names_the_nearest_one(text, key, nearest):
    message = refusal(text)
    assert message.startswith(f"night.toml: unknown key {key!r}; did you mean {nearest!r}?")
    assert "known here are" in message


def test_the_known_keys_of_the_place_are_listed():
    message = refusal("[partitions]\nsize = 3")
    assert message.endswith("known here are max_audio_s, max_tracks")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[features]\nn_mels = 4", "features.n_mels = 4: input should be greater than or equal"),
        ("max_failed_share = 1.5", "max_failed_share = 1.5: input should be less than or equal"),
        (
            '[decode]\nmax_channels = "many"',
            "decode.max_channels = 'many': input should be",
        ),
        ("[decode]\nmax_duration_s = inf", "decode.max_duration_s = inf: input should be a finite"),
        ("[decode]\nmax_duration_s = nan", "decode.max_duration_s = nan: input should be a finite"),
        ("features = 3", "features = 3: input should be a valid"),
        ("[models.crnn_hash]\nn_bits = 60", "models.crnn_hash.n_bits = 60: input should be a mult"),
        ("[models.genre_cnn]\nwidths = [8, 2]", "each block needs at least 4 feature maps"),
    ],
)
def test_a_value_out_of_range_is_named_with_what_is_allowed(text, part):
    assert part in refusal(text)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[features]\nhop_length = 4096", "hop_length=4096 exceeds n_fft=2048"),
        ("[features]\nsr = 8000\nfmax_hz = 5000", "5000"),
        ("[decode]\nmin_duration_s = 9\nmax_duration_s = 8", "min_duration_s=9.0 exceeds"),
        ("[models.crnn_hash]\nn_maps = 64", "n_maps=64 exceeds the narrowest block"),
        ("[models.training.hash_stage]\ncached_crops = 2", "exceeds cached_crops=2"),
    ],
)
def test_relations_between_values_are_checked(text, part):
    assert part in refusal(text)


def test_all_mistakes_are_named_at_once():
    message = refusal("max_failed_share = 2\nspeed = 9\n[features]\nn_mels = 1\nn_mel = 2")
    for part in ("max_failed_share = 2", "'speed'", "features.n_mels = 1", "'features.n_mel'"):
        assert part in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"features = [", "is not valid TOML"),
        (b"a = 1\na = 2", "is not valid TOML"),
        (b'title = "caf\xe9"', "cannot be read"),
    ],
)
def test_a_file_that_is_no_toml_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "night.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"night.toml {message}"):
        load_config(path)


def test_a_missing_file_or_a_folder_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"gone.toml does not exist; check --config"):
        load_config(tmp_path / "gone.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


def test_an_encoder_without_its_input_is_refused_with_both_ways_out():
    message = refusal("[features]\ntagger_mel = false")
    assert message == (
        "night.toml: models.encoder='musicnn' reads the mel bands that features.tagger_mel=false "
        "leaves out; set features.tagger_mel=true, or models.encoder='hpss-cnn'"
    )
    other = refusal("[features]\nn_mels = 64")
    assert "reads features of n_mels=128, and features.n_mels=64; leave it out, or" in other
    without = '[features]\ntagger_mel = false\n[models]\nencoder = "hpss-cnn"'
    assert not parse_config(tomllib.loads(without), source="x").features.tagger_mel


def test_only_settings_of_the_features_change_their_fingerprint():
    default = PipelineConfig().feature_fingerprint
    same = parse_config(
        tomllib.loads("max_failed_share = 0.9\n[decode]\nmax_duration_s = 60"), source="x"
    )
    other = parse_config(
        tomllib.loads("models.encoder = 'hpss-cnn'\n[features]\nhop_length = 256"), source="x"
    )
    assert same.feature_fingerprint == default
    assert other.feature_fingerprint != default


def all_models(model):
    yield model
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from all_models(field.annotation)


def test_every_setting_is_described_and_every_model_is_closed():
    for model in all_models(PipelineConfig):
        assert model.model_config["extra"] == "forbid"
        assert model.model_config["frozen"]
        for name, field in model.model_fields.items():
            is_section = isinstance(field.default, BaseModel)
            assert is_section or field.description, f"{model.__name__}.{name}"
