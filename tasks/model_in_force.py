"""The model generation that a store would encode with: which it is, and whether it will do.

Public: `current_generation`, `check_model`, `check_can_have_model`, `check_model_reads`,
`was_trained_with`, `uses_default_model`, `NoModelError`, `OtherFeaturesError`.
"""

from pydantic import ValidationError

from musichash_core.config import PipelineConfig
from musichash_core.errors import MusicHashError
from musichash_core.model_config import ModelConfig
from storage.catalogue import Catalogue
from storage.errors import ArtefactMissingError
from storage.generations import model_settings, read_model_card, selected_generation
from storage.store import open_store
from tasks.default_model import MIN_LABELS, is_default_model, why_no_default_model


class OtherFeaturesError(MusicHashError):
    """The store's model reads other features than the configuration makes."""

    is_wrong_input = True


class NoModelError(MusicHashError):
    """There is no model, and nothing to train one with."""

    is_wrong_input = True


def current_generation(store: str) -> str | None:
    """Name the model generation that a store would encode with; None for no store or no model."""
    try:
        return selected_generation(open_store(store))
    except ArtefactMissingError:
        return None


def check_model(
    store: str, catalogue: Catalogue, config: PipelineConfig, *, retrain: bool = False
) -> None:
    """Refuse a run that could not encode anything in the end, before any work is done.

    Parameters
    ----------
    retrain : bool
        Whether a new model will be trained although there is one.

    Raises
    ------
    NoModelError, OtherFeaturesError
        As `check_can_have_model` and `check_model_reads` say.
    """
    if not retrain:
        check_model_reads(store, config.feature_fingerprint)
    check_can_have_model(store, catalogue.n_labels, config)


def check_can_have_model(store: str, n_labels: int, config: PipelineConfig) -> None:
    """Refuse a run that could neither train a model nor use the one it has or the shipped one.

    Raises
    ------
    NoModelError
        If the store has no model, the catalogue fewer than two labels to train one with, and the
        configuration does not fit the shipped default model.
    """
    reason = why_no_default_model(config)
    if n_labels < MIN_LABELS and reason is not None and current_generation(store) is None:
        raise NoModelError(
            f"the store has no model and the catalogue has {n_labels} label(s), so none can "
            "be trained: put tracks in folders named by genre, give a labels file with --labels, "
            "or compute features alone with 'musichash extract'; the shipped default model cannot "
            f"stand in: {reason}"
        )


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


def uses_default_model(store: str, generation: str) -> bool:
    """Tell whether a generation of a store is the shipped default model."""
    return is_default_model(open_store(store), generation)


def was_trained_with(store: str, generation: str, settings: ModelConfig) -> bool:
    """Tell whether a generation has these model settings."""
    try:
        trained = model_settings(read_model_card(open_store(store), generation))
    except ValidationError:  # of another version, which knew other settings
        return False
    return trained == settings
