"""Stage 4, train: fit both models to the labelled tracks and store them as a generation.

Public: `train`, `current_generation`, `check_model_reads`, `was_trained_with`,
`TrainedGeneration`.
"""

import json
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from musichash_core.config import PipelineConfig
from musichash_core.errors import MusicHashError, TrainingError
from musichash_core.model_config import ModelConfig
from storage.catalogue import Catalogue, read_catalogue
from storage.errors import ArtefactMissingError
from storage.extracted import read_extracted
from storage.generations import read_model_card, select_generation, selected_generation
from storage.store import open_store
from storage.training_cache import training_tracks

if TYPE_CHECKING:  # importing it loads torch, which belongs to this stage alone
    from musichash_core.training_records import TrainingEvent

MIN_TRACKS_PER_LABEL = 2


class OtherFeaturesError(MusicHashError):
    """The store's model reads other features than the configuration makes."""

    is_wrong_input = True


@dataclass(frozen=True, slots=True)
class TrainedGeneration:
    """A model generation that training made.

    Attributes
    ----------
    generation : str
        Its name.
    n_tracks : int
        Labelled tracks used.
    summary : dict
        The account of the training.
    left_out : tuple of str
        Labels with too few tracks to learn from.
    """

    generation: str
    n_tracks: int
    summary: dict[str, Any]
    left_out: tuple[str, ...]


def train(
    store: str,
    config: PipelineConfig,
    *,
    on_event: "Callable[[TrainingEvent], None] | None" = None,
) -> TrainedGeneration:
    """Train on every labelled track that has features, and select the result for the next snapshot.

    Raises
    ------
    TrainingError
        If fewer than two labels have at least two tracks each.
    """
    from musichash_core.training import train_models
    from storage.checkpoints import save_models

    layout = open_store(store)
    fingerprint = config.feature_fingerprint
    facts = read_extracted(layout, fingerprint).facts
    partition_of = dict(
        zip(facts["track_id"].to_pylist(), facts["partition_id"].to_pylist(), strict=True)
    )
    labels, groups = _labels_of(read_catalogue(layout), partition_of.keys())
    kept, left_out = _enough_tracks(labels)
    if len(kept) < MIN_TRACKS_PER_LABEL:
        raise TrainingError(
            f"the catalogue has {len(kept)} label(s) with at least {MIN_TRACKS_PER_LABEL} decoded "
            f"tracks ({', '.join(sorted(kept)) or 'none'}); two are needed: put tracks in folders "
            "named by genre, or give a labels file with --labels"
        )
    wanted: dict[str, list[str]] = {}
    for track_id, label in labels.items():
        if label in kept:
            wanted.setdefault(partition_of[track_id], []).append(track_id)
    with training_tracks(layout, fingerprint, wanted) as tracks:
        models = train_models(
            tracks,
            [labels[track.track_id] for track in tracks],
            [groups[track.track_id] for track in tracks],
            config.models,
            device="auto",
            on_event=on_event,
        )
        n_tracks = len(tracks)
    summary = json.loads(json.dumps(asdict(models.summary)))
    generation = save_models(layout, models, feature_fingerprint=fingerprint, summary=summary)
    select_generation(layout, generation)
    return TrainedGeneration(generation, n_tracks, summary, tuple(sorted(left_out)))


def _labels_of(
    catalogue: Catalogue, decoded: Collection[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Give label and group per decoded, labelled track; a track of unknown group is its own."""
    labels: dict[str, str] = {}
    groups: dict[str, str] = {}
    for track_id, rows in catalogue.by_track().items():
        labelled = next((row for row in rows if row.label is not None), None)
        if labelled is not None and labelled.label is not None and track_id in decoded:
            labels[track_id] = labelled.label
            groups[track_id] = labelled.group or track_id
    return labels, groups


def _enough_tracks(labels: dict[str, str]) -> tuple[set[str], set[str]]:
    counts = Counter(labels.values())
    kept = {label for label, count in counts.items() if count >= MIN_TRACKS_PER_LABEL}
    return kept, counts.keys() - kept


def current_generation(store: str) -> str | None:
    """Name the model generation that a store would encode with; None for no store or no model."""
    try:
        return selected_generation(open_store(store))
    except ArtefactMissingError:
        return None


def check_model_reads(store: str, feature_fingerprint: str) -> None:
    """Refuse features that the store's model was not trained on, before any is computed.

    Raises
    ------
    OtherFeaturesError
        If the store has a model and it reads other features.
    """
    generation = current_generation(store)
    if generation is None:
        return
    read = read_model_card(open_store(store), generation)["feature_fingerprint"]
    if read != feature_fingerprint:
        raise OtherFeaturesError(
            f"the model {generation} of {store} reads features {read}, the configuration makes "
            f"{feature_fingerprint}; use the configuration it was trained with, or train a new "
            "model with 'musichash run --retrain'"
        )


def was_trained_with(store: str, generation: str, settings: ModelConfig) -> bool:
    """Tell whether a generation has these model settings."""
    try:
        trained = ModelConfig.model_validate(
            read_model_card(open_store(store), generation)["config"]
        )
    except ValidationError:  # of another version, which knew other settings
        return False
    return trained == settings
