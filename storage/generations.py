"""Which model generations a store has, and which one is in force; knows nothing of their weights.

The one in force is named by a small file. While a promotion is under way the file announces a
second one, which is in force as soon as the current snapshot is of it: so replacing the snapshot's
pointer decides, and a promotion that was killed has happened wholly or not at all.

Public: `list_generations`, `find_generation`, `read_model_card`, `code_length`, `model_settings`,
`selected_generation`, `select_generation`, `announce_generation`, `UnknownGenerationError`.
"""

import json
from typing import Any

from musichash_core.model_config import EncoderName, ModelConfig
from musichash_core.segments import WindowConfig
from storage.atomic import read_json, write_json
from storage.errors import ArtefactMissingError, DamagedArtefactError, other_format
from storage.layout import RECEIPT_NAME, StoreLayout
from storage.snapshots import current_snapshot

MODEL_FORMAT = 1
CARD_NAME = "model.json"

NO_WINDOWS = WindowConfig(max_per_track=0)
"""Of generations whose card says nothing of windows: their tables have no codes of any, whatever
version of this program goes on with them."""

FIRST_ENCODER: EncoderName = "hpss-cnn"
"""Of generations whose card names none: there was no other when they were trained."""


class UnknownGenerationError(ArtefactMissingError):
    """A name fits no generation of the store, or several."""

    is_wrong_input = True


def list_generations(layout: StoreLayout) -> list[str]:
    """Name the generations that a store has, sorted."""
    root = layout.models_root
    if not root.is_dir():
        return []
    folders = (path for path in root.iterdir() if not path.name.startswith("."))
    return sorted(path.name for path in folders if (path / RECEIPT_NAME).is_file())


def find_generation(layout: StoreLayout, name: str) -> str:
    """Give the one generation that has this name, or whose name begins like it.

    Raises
    ------
    UnknownGenerationError
        If none does, or several do.
    """
    known = list_generations(layout)
    fitting = [name] if name in known else [one for one in known if name and one.startswith(name)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UnknownGenerationError(
            f"{name!r} begins {len(fitting)} model generations: {', '.join(fitting)}; name one"
        )
    raise UnknownGenerationError(
        f"the store {layout.root} has no model generation {name!r}; it has "
        f"{', '.join(known) or 'none'}: 'musichash models list' shows them, 'musichash train' "
        "makes a new one"
    )


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
        raise other_format(f"the model {path}", card.get("format"), MODEL_FORMAT)
    return card


def model_settings(card: dict[str, Any]) -> ModelConfig:
    """Give the settings that a generation was trained with.

    Raises
    ------
    pydantic.ValidationError
        If they are those of a version that knew other settings.
    """
    earlier = {"encoder": FIRST_ENCODER, "windows": NO_WINDOWS.model_dump(mode="json")}
    return ModelConfig.model_validate_json(json.dumps(earlier | card["config"]))


def code_length(card: dict[str, Any]) -> int:
    """Give the length of a generation's codes, in bits."""
    return int(card["config"]["crnn_hash"]["n_bits"])


def selected_generation(layout: StoreLayout) -> str | None:
    """Give the generation that the next snapshot will use; None when no model is trained yet."""
    try:
        content = read_json(layout.generation_path)
    except ArtefactMissingError:
        return None
    generation, announced = content.get("generation"), content.get("announced")
    if not isinstance(generation, str) or not isinstance(announced, str | None):
        raise DamagedArtefactError(
            f"{layout.generation_path} names no model; remove it and run 'musichash train'"
        )
    if announced is not None:
        snapshot = current_snapshot(layout)
        if snapshot is not None and snapshot.generation == announced:
            return announced
    return generation


def select_generation(layout: StoreLayout, generation: str) -> None:
    """Let the next snapshot use a generation."""
    write_json(layout.generation_path, {"generation": generation})


def announce_generation(layout: StoreLayout, generation: str) -> None:
    """Let a generation be in force from the moment on when the current snapshot is of it.

    Until then, and where it never comes to that, the one in force before stays. `select_generation`
    ends the announcement.

    Raises
    ------
    ArtefactMissingError
        If no generation is in force yet: one could be selected without more ado.
    """
    before = selected_generation(layout)
    if before is None:
        raise ArtefactMissingError(
            f"the store {layout.root} has no model in force yet; run 'musichash train' first"
        )
    write_json(layout.generation_path, {"generation": before, "announced": generation})
