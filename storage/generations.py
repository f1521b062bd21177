"""Which model generations a store has, and which one it uses; knows nothing of their weights.

Public: `read_model_card`, `model_settings`, `selected_generation`, `select_generation`.
"""

import json
from typing import Any

from musichash_core.model_config import EncoderName, ModelConfig
from storage.atomic import read_json, write_json
from storage.errors import ArtefactMissingError, DamagedArtefactError, FormatVersionError
from storage.layout import StoreLayout

MODEL_FORMAT = 1
CARD_NAME = "model.json"

FIRST_ENCODER: EncoderName = "hpss-cnn"
"""Of generations whose card names none: there was no other when they were trained."""


def read_model_card(layout: StoreLayout, generation: str) -> dict[str, Any]:
    """Read what is known of a generation without loading its weights."""
    path = layout.model_path(generation) / CARD_NAME
    try:
        card = read_json(path)
    except ArtefactMissingError as error:
        raise ArtefactMissingError(
            f"the store {layout.root} has no model {generation} ({path} is missing); restore it "
            "from a backup, or train a new one with 'musichash train'"
        ) from error
    if card.get("format") != MODEL_FORMAT:
        raise FormatVersionError(
            f"{path} has format {card.get('format')}, this version reads {MODEL_FORMAT}"
        )
    return card


def model_settings(card: dict[str, Any]) -> ModelConfig:
    """Give the settings that a generation was trained with.

    Raises
    ------
    pydantic.ValidationError
        If they are those of a version that knew other settings.
    """
    return ModelConfig.model_validate_json(json.dumps({"encoder": FIRST_ENCODER} | card["config"]))


def selected_generation(layout: StoreLayout) -> str | None:
    """Give the generation that the next snapshot will use; None when no model is trained yet."""
    try:
        generation = read_json(layout.generation_path).get("generation")
    except ArtefactMissingError:
        return None
    if not isinstance(generation, str):
        raise DamagedArtefactError(
            f"{layout.generation_path} names no model; remove it and run 'musichash train'"
        )
    return generation


def select_generation(layout: StoreLayout, generation: str) -> None:
    """Let the next snapshot use a generation."""
    write_json(layout.generation_path, {"generation": generation})
