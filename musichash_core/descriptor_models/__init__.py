"""Heads on top of a track's description: genres and codes, and the shipped default model."""

from musichash_core.descriptor_models.default_model import load_default_models
from musichash_core.descriptor_models.models import (
    DescriptorModels,
    build_models,
    encode_description,
    models_from_tensors,
    models_to_tensors,
)
from musichash_core.descriptor_models.training import (
    DescribedTracks,
    TrainedHeads,
    train_descriptor_models,
)

__all__ = [
    "DescribedTracks",
    "DescriptorModels",
    "TrainedHeads",
    "build_models",
    "encode_description",
    "load_default_models",
    "models_from_tensors",
    "models_to_tensors",
    "train_descriptor_models",
]
