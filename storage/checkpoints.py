"""Model generations on disk: weights as safetensors, everything else as JSON beside them.

Loading builds the networks from the JSON and reads the weights without executing anything.

Public: `save_models`, `load_models`.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from musichash_core.errors import ParameterError
from musichash_core.identity import fingerprint_of
from musichash_core.inference import MusicModels, models_from_tensors, models_to_tensors
from musichash_core.model_config import ModelConfig
from storage.atomic import remove_folder, staged_directory, to_json
from storage.errors import (
    ArtefactMissingError,
    DamagedArtefactError,
    FingerprintMismatchError,
    FormatVersionError,
)
from storage.generations import CARD_NAME, MODEL_FORMAT, read_model_card
from storage.layout import RECEIPT_NAME, StoreLayout
from storage.receipts import write_receipt

WEIGHTS_NAME = "weights.safetensors"


def save_models(
    layout: StoreLayout, models: MusicModels, *, feature_fingerprint: str, summary: dict[str, Any]
) -> str:
    """Store a generation; give its name, which is a hash of all that is stored.

    A generation of that name that is damaged is replaced.

    Parameters
    ----------
    feature_fingerprint : str
        Of the features that the models were trained on and can read.
    summary : dict
        JSON account of the training, without times.
    """
    weights = tensors_to_bytes(models_to_tensors(models))
    card = {
        "format": MODEL_FORMAT,
        "config": models.config.model_dump(mode="json"),
        "genres": list(models.genres),
        "n_channels": models.genre_cnn.n_channels,
        "n_mels": models.genre_cnn.n_mels,
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


def load_models(layout: StoreLayout, generation: str, *, feature_fingerprint: str) -> MusicModels:
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
        If the models were trained on other features.
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
        config = ModelConfig.model_validate_json(json.dumps(card["config"]))
        return models_from_tensors(
            tensors_from_bytes(weights),
            config,
            card["genres"],
            n_channels=card["n_channels"],
            n_mels=card["n_mels"],
        )
    except (ValidationError, ParameterError) as error:
        raise FormatVersionError(
            f"the model {generation} was trained by another version of musichash ({error}); use "
            "that one, or train a new model with 'musichash train'"
        ) from error


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
