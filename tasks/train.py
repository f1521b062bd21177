"""Stage 5, train: fit both models to the labelled tracks and store them as a generation.

Public: `train`, `make_generation`, `put_in_force`, `check_device`, `TrainedGeneration`.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from musichash_core.config import PipelineConfig
from musichash_core.errors import TrainingError
from storage.catalogue import read_catalogue
from storage.generations import select_generation, selected_generation
from storage.layout import StoreLayout
from storage.store import open_store
from storage.training_cache import training_tracks
from tasks.default_model import (
    MIN_LABELS,
    install_default_model,
    is_default_model,
    why_no_default_model,
)
from tasks.described_training import train_described
from tasks.training_labels import (
    MIN_TRACKS_PER_LABEL,
    enough_tracks,
    labelled_rows,
    labels_of,
    partitions_of,
)

if TYPE_CHECKING:  # importing it loads torch, which belongs to this stage alone
    from musichash_core.training_records import TrainingEvent


class TooFewLabelsError(TrainingError):
    """The catalogue's labels are too few to learn from."""

    is_wrong_input = True


@dataclass(frozen=True, slots=True)
class TrainedGeneration:
    """A model generation that training made, or the shipped default model.

    Attributes
    ----------
    generation : str
        Its name.
    n_tracks : int
        Labelled tracks used; 0 for the default model.
    summary : dict
        The account of the training, or ``{"default_model": card}``.
    left_out : tuple of str
        Labels with too few tracks to learn from.
    device : str
        Kind of device that it was trained on: "cpu" or "cuda".
    is_candidate : bool
        Whether another generation stays in force.
    """

    generation: str
    n_tracks: int
    summary: dict[str, Any]
    left_out: tuple[str, ...]
    device: str = "cpu"
    is_candidate: bool = False

    @property
    def next_step(self) -> str | None:
        """What to do with a candidate; None for a generation in force."""
        if not self.is_candidate:
            return None
        return (
            f"it is a candidate, the model in force stays: 'musichash backfill --model "
            f"{self.generation}' encodes the catalogue with it, 'musichash models compare' shows "
            "what would change, 'musichash models promote' publishes it"
        )


def train(  # noqa: PLR0913 - three of them only tell the caller, or are called
    store: str,
    config: PipelineConfig,
    *,
    device: str = "auto",
    as_candidate: bool = False,
    on_event: "Callable[[TrainingEvent], None] | None" = None,
    say: Callable[[str], None] | None = None,
    call: Callable[..., Any] | None = None,
) -> TrainedGeneration:
    """Train on every labelled track that has features, and select the result for the next snapshot.

    Parameters
    ----------
    as_candidate : bool
        Leave the generation in force as it is, if the store has one.
    device, on_event, say, call
        See `make_generation`.

    Raises
    ------
    ParameterError, TooFewLabelsError, ArtefactMissingError
        See `make_generation`.
    """
    made = make_generation(store, config, device=device, on_event=on_event, say=say, call=call)
    return put_in_force(store, made, as_candidate=as_candidate)


def put_in_force(
    store: str, made: TrainedGeneration, *, as_candidate: bool = False
) -> TrainedGeneration:
    """Select what was made for the next snapshot, and forget the state of its training.

    Parameters
    ----------
    as_candidate : bool
        Leave the generation in force as it is, if the store has one.
    """
    layout = open_store(store)
    if not as_candidate or selected_generation(layout) is None:
        select_generation(layout, made.generation)
    if made.n_tracks:  # the default model needs no training, and so no torch in this process
        from storage.training_state_store import remove_training_state

        remove_training_state(layout)
    return replace(made, is_candidate=selected_generation(layout) != made.generation)


def make_generation(
    store: str,
    config: PipelineConfig,
    *,
    device: str = "auto",
    on_event: "Callable[[TrainingEvent], None] | None" = None,
    say: Callable[[str], None] | None = None,
    call: Callable[..., Any] | None = None,
) -> TrainedGeneration:
    """Train on every labelled track that has features, and store the result; select nothing.

    A training of networks that was killed goes on where it was. Where too few labels are there, a
    store that has no model of its own yet gets the shipped default model, if the configuration fits
    it.

    Parameters
    ----------
    device : "auto", "cpu" or "cuda"
        Where torch computes; "auto" is a CUDA device where there is one.
    on_event : callable, optional
        Called after each epoch.
    say : callable, optional
        Told whether a stopped training is gone on with.
    call : callable, optional
        Calls a function with its arguments where torch is loaded already, to install the default
        model; here without it.

    Returns
    -------
    TrainedGeneration
        A candidate: `put_in_force` selects it.

    Raises
    ------
    ParameterError
        If there is no such device.
    TooFewLabelsError
        If fewer than two labels have at least two tracks each, and the default model will not do.
    ArtefactMissingError
        If the encoder is "musicnn" and a partition is not described yet.
    """
    check_device(device)
    layout = open_store(store)
    fingerprint = config.feature_fingerprint
    catalogue = read_catalogue(layout)
    labelled = labelled_rows(catalogue)
    partition_of, n_extracted = partitions_of(layout, fingerprint, labelled["track_id"])
    labels, groups = labels_of(labelled, partition_of.keys())
    kept, left_out = enough_tracks(labels)
    if len(kept) < MIN_LABELS:
        # Labels of which no track is extracted yet are no reason to do without them.
        has_all_labels = n_extracted > 0 or len(labelled["label"].unique()) < MIN_LABELS
        if has_all_labels and _may_install_default(layout, config):
            generation, summary = (
                install_default_model(layout, config)
                if call is None
                else call(install_default_model, layout, config)
            )
            return TrainedGeneration(
                generation, 0, summary, tuple(sorted(left_out)), is_candidate=True
            )
        raise TooFewLabelsError(
            f"the catalogue has {len(kept)} label(s) with at least {MIN_TRACKS_PER_LABEL} decoded "
            f"tracks ({', '.join(sorted(kept)) or 'none'}); two are needed: put tracks in folders "
            "named by genre, or give a labels file with --labels"
            f"{_why_not_default(config)}"
        )
    from musichash_core.compute_device import choose_device
    from storage.checkpoints import StorableModels, save_models
    from tasks.resumable_training import train_resumably

    wanted: dict[str, list[str]] = {}
    for track_id, label in labels.items():
        if label in kept:
            wanted.setdefault(partition_of[track_id], []).append(track_id)
    models: StorableModels
    if config.models.encoder == "musicnn":
        models, account = train_described(
            layout, fingerprint, wanted, labels, groups, config.models, on_event=on_event
        )
        device_type = "cpu"  # where it takes seconds
    else:
        device_type = choose_device(device).type
        with training_tracks(layout, fingerprint, wanted) as tracks:
            models = trained = train_resumably(
                layout,
                tracks,
                [labels[track.track_id] for track in tracks],
                [groups[track.track_id] for track in tracks],
                config.models,
                device=device_type,
                on_event=on_event,
                say=say,
            )
        account = trained.summary
    summary = json.loads(json.dumps(asdict(account)))
    generation = save_models(layout, models, feature_fingerprint=fingerprint, summary=summary)
    return TrainedGeneration(
        generation,
        n_tracks=sum(map(len, wanted.values())),
        summary=summary,
        left_out=tuple(sorted(left_out)),
        device=device_type,
        is_candidate=True,
    )


def _may_install_default(layout: StoreLayout, config: PipelineConfig) -> bool:
    """Whether the default model may be selected: never in place of one that was trained here."""
    generation = selected_generation(layout)
    is_free = generation is None or is_default_model(layout, generation)
    return is_free and why_no_default_model(config) is None


def _why_not_default(config: PipelineConfig) -> str:
    reason = why_no_default_model(config)
    return f" (the shipped default model cannot stand in: {reason})" if reason else ""


def check_device(device: str) -> None:
    """Refuse a device that this machine does not have, before any work is done.

    Raises
    ------
    ParameterError
        If there is no such device.
    """
    if device not in ("auto", "cpu"):  # which are everywhere: torch need not be loaded
        from musichash_core.compute_device import choose_device

        choose_device(device)
