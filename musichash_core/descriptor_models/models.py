"""The two heads together: a track's description -> genre probabilities and hash logits.

Public: `DescriptorModels`, `encode_description`, `build_models`, `models_to_tensors`,
`models_from_tensors`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from musichash_core.descriptor_models.genre_head import GenreHead
from musichash_core.descriptor_models.hash_head import HashHead
from musichash_core.descriptor_models.tag_genres import N_GENRE_TAGS, TAG_ORDER, TAGS
from musichash_core.descriptors import N_DESCRIPTORS, TrackDescription
from musichash_core.errors import ParameterError
from musichash_core.inference import EncodedTrack
from musichash_core.model_config import ModelConfig


@dataclass(frozen=True, slots=True)
class DescriptorModels:
    """The heads that encode a described track, and what is needed to use them.

    Attributes
    ----------
    genre_head : GenreHead or None
        None where nothing was learned from labels: the tags of the pretrained network stand in.
    hash_head : HashHead
    genres : tuple of str
        Names of the probabilities; without a genre head `TAGS`.
    config : ModelConfig
    """

    genre_head: GenreHead | None
    hash_head: HashHead
    genres: tuple[str, ...]
    config: ModelConfig


@torch.inference_mode()
def encode_description(models: DescriptorModels, description: TrackDescription) -> EncodedTrack:
    """Compute a track's probabilities and hash logits; no other track has a part in it.

    Raises
    ------
    ParameterError
        The vector has another length, or a result is not finite.
    """
    if description.vector.shape != (N_DESCRIPTORS,):
        raise ParameterError(
            f"a description of shape {description.vector.shape}: want ({N_DESCRIPTORS},)"
        )
    vector_1D = torch.from_numpy(description.vector)[None]
    if models.genre_head is None:
        probabilities_1G = torch.from_numpy(description.tag_probabilities[TAG_ORDER])[None]
        n_genres = N_GENRE_TAGS
    else:
        probabilities_1G = models.genre_head(vector_1D).exp()
        n_genres = None
    logits_1K = models.hash_head(vector_1D, probabilities_1G)
    if not (probabilities_1G.isfinite().all() and logits_1K.isfinite().all()):
        raise ParameterError("the heads gave NaN or infinity; the description has such numbers")
    return EncodedTrack(
        probabilities_1G[0].numpy(), logits_1K[0].numpy(), description.n_patches, n_genres
    )


def build_models(config: ModelConfig, genres: Sequence[str]) -> DescriptorModels:
    """Build both heads with arbitrary weights, in evaluation mode.

    Parameters
    ----------
    genres : sequence of str
        Names of the genres, in order; `TAGS` for models without a genre head.
    """
    names = tuple(genres)
    n_bits = config.crnn_hash.n_bits
    with torch.random.fork_rng(devices=[]):
        if names == TAGS:
            return DescriptorModels(None, HashHead(n_bits=n_bits, n_genres=0).eval(), names, config)
        genre_head = GenreHead(config.heads, n_descriptors=N_DESCRIPTORS, n_genres=len(names))
        hash_head = HashHead(n_bits=n_bits, n_genres=len(names))
    return DescriptorModels(genre_head.eval(), hash_head.eval(), names, config)


def models_to_tensors(models: DescriptorModels) -> dict[str, Tensor]:
    """Give all weights and buffers under ``genre_head.*`` and ``hash_head.*``."""
    return {
        f"{prefix}.{name}": value.detach().clone().contiguous()
        for prefix, head in _named_heads(models)
        for name, value in head.state_dict().items()
    }


def models_from_tensors(
    tensors: Mapping[str, Tensor], config: ModelConfig, genres: Sequence[str]
) -> DescriptorModels:
    """Build both heads and put in the weights that `models_to_tensors` gave.

    Raises
    ------
    ParameterError
        A tensor is missing, left over or of another shape.
    """
    models = build_models(config, genres)
    known = models_to_tensors(models).keys()
    tensors = {"hash_head.genre_power": torch.ones(()), **tensors}  # older heads have none
    if known != tensors.keys():
        raise ParameterError(
            f"weights do not fit the configuration: missing {sorted(known - tensors.keys())[:3]}, "
            f"left over {sorted(tensors.keys() - known)[:3]}"
        )
    for prefix, head in _named_heads(models):
        try:
            head.load_state_dict({name: tensors[f"{prefix}.{name}"] for name in head.state_dict()})
        except RuntimeError as error:
            raise ParameterError(f"weights do not fit the configuration: {error}") from error
    return models


def _named_heads(models: DescriptorModels) -> list[tuple[str, nn.Module]]:
    """Pair each head with the prefix of its tensors."""
    heads: list[tuple[str, nn.Module]] = [("hash_head", models.hash_head)]
    if models.genre_head is not None:
        heads.append(("genre_head", models.genre_head))
    return heads
