"""Train the descriptor models on the stored descriptions. Belongs to the stage "train".

Public: `train_described`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from musichash_core.descriptors import N_DESCRIPTORS, description_fingerprint
from musichash_core.model_config import ModelConfig
from musichash_core.musicnn.tags import MSD_TAGS
from storage.description_store import read_descriptions
from storage.layout import StoreLayout

if TYPE_CHECKING:  # importing them loads torch, which belongs to this stage alone
    from musichash_core.descriptor_models import DescriptorModels
    from musichash_core.training_records import TrainingEvent, TrainingSummary


def train_described(  # noqa: PLR0913 - a store's place, what to learn from, and how
    layout: StoreLayout,
    feature_fingerprint: str,
    wanted: Mapping[str, Sequence[str]],
    labels: Mapping[str, str],
    groups: Mapping[str, str],
    config: ModelConfig,
    *,
    on_event: "Callable[[TrainingEvent], None] | None" = None,
) -> "tuple[DescriptorModels, TrainingSummary]":
    """Train on the descriptions of some tracks; seconds for thousands of them.

    Parameters
    ----------
    wanted : mapping
        Partition id -> the ids of its tracks to learn from.
    labels, groups : mapping
        Track id -> what training is told of it.
    on_event : callable, optional
        Called with the progress of the training.

    Raises
    ------
    ArtefactMissingError
        If a partition is not described yet.
    TrainingError
        If the labels cannot be learned from.
    """
    from musichash_core.descriptor_models import DescribedTracks, train_descriptor_models

    vectors = {}
    for partition_id in sorted(wanted):
        folder = layout.description_partition_path(
            feature_fingerprint, description_fingerprint(), partition_id
        )
        stored = read_descriptions(folder, n_descriptors=N_DESCRIPTORS, n_tags=len(MSD_TAGS))
        place = {track_id: number for number, track_id in enumerate(stored.track_ids)}
        for track_id in wanted[partition_id]:
            vectors[track_id] = stored.vectors[place[track_id]]
    track_ids = sorted(vectors)
    items = DescribedTracks(
        track_ids=tuple(track_ids),
        vectors=np.stack([vectors[track_id] for track_id in track_ids]),
        genres=tuple(labels[track_id] for track_id in track_ids),
        groups=tuple(groups[track_id] for track_id in track_ids),
    )
    trained = train_descriptor_models(items, config, on_event=on_event)
    return trained.models, trained.summary
