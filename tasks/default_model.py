"""The shipped default model: what a store without a model and without labels encodes with.

It was made elsewhere, from the descriptions that the default settings of features give; it has
codes of any length, and becomes a generation of the store like any other.

Public: `MIN_LABELS`, `is_default_model`, `why_no_default_model`, `install_default_model`.
"""

from typing import Any

from musichash_core.config import PipelineConfig
from musichash_core.feature_config import FeatureConfig
from storage.errors import StoreError
from storage.generations import read_model_card
from storage.layout import StoreLayout

MIN_LABELS = 2
"""Training needs at least two genres to tell apart; with fewer, the default model stands in."""

SUMMARY_KEY = "default_model"
"""Entry of a generation's summary that holds the card of the default model, in place of an account
of a training."""


def why_no_default_model(config: PipelineConfig) -> str | None:
    """Say what of a configuration the default model does not fit; None when it fits."""
    if config.models.encoder != "musicnn":
        return f"models.encoder={config.models.encoder!r} is always trained; it has 'musicnn'"
    if config.features != FeatureConfig():
        return "it reads the default features, the configuration makes others"
    return None


def is_default_model(layout: StoreLayout, generation: str) -> bool:
    """Tell whether a generation is a shipped default model; not when its card cannot be read."""
    try:
        return SUMMARY_KEY in read_model_card(layout, generation)["summary"]
    except StoreError:
        return False


def install_default_model(
    layout: StoreLayout, config: PipelineConfig
) -> tuple[str, dict[str, Any]]:
    """Store the default model as a generation; it is not in force yet.

    Returns
    -------
    generation : str
    summary : dict
        ``{"default_model": ...}`` with the card of the model.
    """
    from musichash_core.descriptor_models import load_default_models
    from storage.checkpoints import save_models

    models, card = load_default_models(
        config.models.crnn_hash.n_bits, windows=config.models.windows
    )
    summary = {SUMMARY_KEY: card}
    generation = save_models(
        layout, models, feature_fingerprint=config.feature_fingerprint, summary=summary
    )
    return generation, summary
