"""Model generations on disk: weights as safetensors, everything else as JSON beside them.

Loading builds the networks from the JSON and reads the weights without executing anything. The
card names the encoder: it says which models the weights are, and what they read.

Public: `save_models`, `load_models`, `StorableModels`.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from musichash_core import descriptor_models, inference
from musichash_core.descriptor_models import DescriptorModels
from musichash_core.descriptors import description_fingerprint
from musichash_core.errors import ParameterError
from musichash_core.identity import fingerprint_of
from musichash_core.inference import MusicModels
from musichash_core.model_config import ModelConfig
from storage.atomic import remove_folder, staged_directory, to_json
from storage.errors import (
    ArtefactMissingError,
    DamagedArtefactError,
    FingerprintMismatchError,
    FormatVersionError,
)
from storage.generations import CARD_NAME, MODEL_FORMAT, model_settings, read_model_card
from storage.layout import RECEIPT_NAME, StoreLayout
from storage.receipts import write_receipt

StorableModels = MusicModels | DescriptorModels
"""The models of either encoder."""

WEIGHTS_NAME = "weights.safetensors"


def save_models(
    layout: StoreLayout,
    models: StorableModels,
    *,
    feature_fingerprint: str,
    summary: dict[str, Any],
) -> str:
    """Store a generation; give its name, which is a hash of all that is stored.

    A generation of that name that is damaged is replaced.

    Parameters
    ----------
    feature_fingerprint : str
        Of the features that the models were trained on and can read.
    summary : dict
        JSON account of the training, without times.

    Raises
    ------
    ParameterError
        If the models are not those of the encoder that their settings name.
    """
    tensors, shape = _tensors_and_shape(models)
    weights = tensors_to_bytes(tensors)
    card = {
        "format": MODEL_FORMAT,
        "encoder": models.config.encoder,
        "config": models.config.model_dump(mode="json"),
        "genres": list(models.genres),
        **shape,
        "feature_fingerprint": feature_fingerprint,
        "summary": summary,
    }
    text = to_json(card)
    generation = _name_of(text, weights)
    final = layout.model_path(generation)
    if _stored_name(final) != generation:
        remove_folder(final)
        with staged_directory(final, proof=RECEIPT_NAME) as folder:
            (folder / WEIGHTS_NAME).write_bytes(weights)
            (folder / CARD_NAME).write_bytes(text)
            write_receipt(
                folder,
                kind="model",
                partition_id=generation,
                fingerprint=feature_fingerprint,
                n_done=1,
                n_failed=0,
            )
    return generation


def _tensors_and_shape(models: StorableModels) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Give the weights, and what the card must say of the numbers that the models read."""
    if isinstance(models, MusicModels):
        is_named = models.config.encoder == "hpss-cnn"
        tensors = inference.models_to_tensors(models)
        cnn = models.genre_cnn
        shape: dict[str, Any] = {"n_channels": cnn.n_channels, "n_mels": cnn.n_mels}
    else:
        is_named = models.config.encoder == "musicnn"
        tensors = descriptor_models.models_to_tensors(models)
        shape = {"description_fingerprint": description_fingerprint()}
    if not is_named:
        raise ParameterError(
            f"{type(models).__name__} with encoder={models.config.encoder!r}: want 'hpss-cnn' for "
            "MusicModels, 'musicnn' for DescriptorModels"
        )
    return tensors, shape


def load_models(
    layout: StoreLayout, generation: str, *, feature_fingerprint: str
) -> StorableModels:
    """Load a generation for use on features of one configuration.

    Raises
    ------
    ArtefactMissingError
        If there is no such generation.
    DamagedArtefactError
        If card and weights are not those that the name was made of.
    FormatVersionError
        If its settings are not known to this version.
    FingerprintMismatchError
        If the models were trained on other features, or on other descriptions of them.
    """
    folder = layout.model_path(generation)
    card = read_model_card(layout, generation)
    try:
        weights = (folder / WEIGHTS_NAME).read_bytes()
    except FileNotFoundError as error:
        raise ArtefactMissingError(
            f"{folder / WEIGHTS_NAME} is missing; restore it from a backup or train again"
        ) from error
    if _name_of(to_json(card), weights) != generation:
        raise DamagedArtefactError(
            f"{folder} holds other bytes than {generation} was made of; restore it from a backup "
            "or train again"
        )
    if card["feature_fingerprint"] != feature_fingerprint:
        raise FingerprintMismatchError(
            f"the model {generation} reads features {card['feature_fingerprint']}, the "
            f"configuration makes {feature_fingerprint}; use the configuration it was trained "
            "with, or train a new model with 'musichash train'"
        )
    try:
        return _built(generation, card, tensors_from_bytes(weights))
    except (ValidationError, ParameterError) as error:
        raise FormatVersionError(
            f"the model {generation} was trained by another version of musichash ({error}); use "
            "that one, or train a new model with 'musichash train'"
        ) from error


def _built(generation: str, card: dict[str, Any], tensors: Mapping[str, Tensor]) -> StorableModels:
    config: ModelConfig = model_settings(card)
    if config.encoder == "hpss-cnn":
        return inference.models_from_tensors(
            tensors,
            config,
            card["genres"],
            n_channels=card["n_channels"],
            n_mels=card["n_mels"],
        )
    if card["description_fingerprint"] != description_fingerprint():
        raise FingerprintMismatchError(
            f"the model {generation} reads descriptions {card['description_fingerprint']}, this "
            f"version of musichash makes {description_fingerprint()}; use the version it was "
            "trained with, or train a new model with 'musichash train'"
        )
    return descriptor_models.models_from_tensors(tensors, config, card["genres"])


def _name_of(card: bytes, weights: bytes) -> str:
    digest = hashlib.sha256(weights).hexdigest()
    return "g-" + fingerprint_of("generation", card.decode(), digest)


def _stored_name(folder: Path) -> str | None:
    """Give the name that what lies in a folder deserves; None when something is missing."""
    try:
        card, weights = ((folder / name).read_bytes() for name in (CARD_NAME, WEIGHTS_NAME))
        is_complete = (folder / RECEIPT_NAME).is_file()
        return _name_of(card, weights) if is_complete else None
    except (OSError, UnicodeDecodeError):
        return None
