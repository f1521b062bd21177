"""The shipped default model: codes and tags for any catalogue, without labels.

Its weights are package data beside this module, with a card of what they were made from and what
they were measured to do. Public: `load_default_models`, `load_detail_basis`, `save_detail_basis`.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from musichash_core.descriptor_models.hash_head import DetailBasis
from musichash_core.descriptor_models.models import DescriptorModels, build_models
from musichash_core.descriptor_models.tag_genres import TAGS
from musichash_core.errors import MusicHashError
from musichash_core.model_config import CRNNHashConfig, ModelConfig
from musichash_core.segments import WindowConfig

DEFAULT_FOLDER = Path(__file__).parent / "default"
BASIS_NAME = "detail_basis.safetensors"
CARD_NAME = "card.json"


def load_default_models(
    n_bits: int, *, windows: WindowConfig | None = None
) -> tuple[DescriptorModels, dict[str, Any]]:
    """Build the default model with codes of some length.

    Parameters
    ----------
    n_bits : int
        A multiple of 8 from 16 to 256; the first 16 and 32 bits of 64 are those of shorter codes.
    windows : WindowConfig, optional
        Which windows get codes of their own; by default the default ones.

    Returns
    -------
    models : DescriptorModels
        Without a genre head: probabilities are those of the pretrained network's tags.
    card : dict
        JSON: what it was made from, and figures.

    Raises
    ------
    MusicHashError
        If its files are missing, or not those that were shipped.
    """
    config = ModelConfig(crnn_hash=CRNNHashConfig(n_bits=n_bits), windows=windows or WindowConfig())
    models = build_models(config, TAGS)
    models.hash_head.set_detail(load_detail_basis())
    card: dict[str, Any] = json.loads(_read(CARD_NAME))
    return models, card


def load_detail_basis() -> DetailBasis:
    """Load the shipped components.

    Raises
    ------
    MusicHashError
        If their file is missing, or is not the one that the card names.
    """
    contents = _read(BASIS_NAME)
    found = hashlib.sha256(contents).hexdigest()
    wanted = json.loads(_read(CARD_NAME))["sha256"]
    if found != wanted:
        raise MusicHashError(
            f"{DEFAULT_FOLDER / BASIS_NAME} has SHA-256 {found}, not {wanted}: it is damaged or "
            "replaced; install again"
        )
    return DetailBasis(**tensors_from_bytes(contents))


def save_detail_basis(basis: DetailBasis, card: dict[str, Any], folder: Path) -> None:
    """Write the files that `load_default_models` reads; for those who make the default model."""
    contents = tensors_to_bytes(basis._asdict())
    (folder / BASIS_NAME).write_bytes(contents)
    with_digest = card | {"sha256": hashlib.sha256(contents).hexdigest()}
    text = json.dumps(with_digest, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / CARD_NAME).write_text(text + "\n", encoding="utf-8")


def _read(name: str) -> bytes:
    path = DEFAULT_FOLDER / name
    try:
        return path.read_bytes()
    except OSError as error:
        raise MusicHashError(f"{path} cannot be read ({error.strerror}); install again") from error
