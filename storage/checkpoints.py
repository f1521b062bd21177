"""Model generations on disk: weights as safetensors, everything else as JSON beside them.

Loading builds the networks from the JSON and reads the weights without executing anything.

Public: `save_models`, `load_models`.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from musichash_core.identity import fingerprint_of
from musichash_core.inference import MusicModels, models_from_tensors, models_to_tensors
from musichash_core.model_config import ModelConfig
from storage.atomic import staged_directory, to_json
from storage.errors import DamagedArtefactError, FingerprintMismatchError
from storage.generations import CARD_NAME, MODEL_FORMAT, read_model_card
from storage.layout import StoreLayout
from storage.receipts import read_receipt, write_receipt

WEIGHTS_NAME = "weights.safetensors"


def save_models(
    layout: StoreLayout, models: MusicModels, *, feature_fingerprint: str, summary: dict[str, Any]
) -> str:
    """Store a generation; give its name, which is a hash of all that is stored.

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
    generation = "g-" + fingerprint_of("generation", text.decode(), hashlib.sha256(weights).hexdigest())
    final = layout.model_path(generation)
    if not final.exists():
        with staged_directory(final) as folder:
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
        If the weights differ from the receipt.
    FingerprintMismatchError
        If the models were trained on other features.
    """
    folder = layout.model_path(generation)
    card = read_model_card(layout, generation)
    if card["feature_fingerprint"] != feature_fingerprint:
        raise FingerprintMismatchError(
            f"the model {generation} reads features {card['feature_fingerprint']}, the "
            f"configuration makes {feature_fingerprint}; use the configuration it was trained "
            "with, or train a new model with 'musichash train --retrain'"
        )
    weights = _checked_bytes(folder, WEIGHTS_NAME)
    config = ModelConfig.model_validate_json(json.dumps(card["config"]))
    return models_from_tensors(
        tensors_from_bytes(weights),
        config,
        card["genres"],
        n_channels=card["n_channels"],
        n_mels=card["n_mels"],
    )


def _checked_bytes(folder: Path, name: str) -> bytes:
    data = (folder / name).read_bytes()
    wanted = {entry.path: entry.sha256 for entry in read_receipt(folder).files}
    if hashlib.sha256(data).hexdigest() != wanted.get(name):
        raise DamagedArtefactError(
            f"{folder / name} differs from its receipt; restore it from a backup or train again"
        )
    return data
