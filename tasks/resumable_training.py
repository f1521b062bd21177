"""Train the two networks so that a killed training goes on where it was.

The result is that of a training that was never killed. Belongs to the stage "train".

Public: `train_resumably`.
"""

import time
from collections.abc import Callable, Sequence

from musichash_core.model_config import ModelConfig
from musichash_core.segments import TrackFrames
from musichash_core.training import TrainedModels, train_prepared
from musichash_core.training_data import prepare_training_data
from musichash_core.training_records import TrainingEvent
from musichash_core.training_state import TrainingState, training_identity
from storage.errors import ArtefactMissingError, StoreError
from storage.layout import StoreLayout
from storage.training_state_store import read_training_state, write_training_state

SECONDS_BETWEEN_STATES = 10.0
"""Work that a killed training loses at most, beside the epoch that it was in."""


def train_resumably(  # noqa: PLR0913 - the arguments of `train_models`, and three for the state
    layout: StoreLayout,
    tracks: Sequence[TrackFrames],
    genres: Sequence[str],
    groups: Sequence[str],
    config: ModelConfig,
    *,
    device: str = "cpu",
    on_event: Callable[[TrainingEvent], None] | None = None,
    say: Callable[[str], None] | None = None,
    seconds_between_states: float = SECONDS_BETWEEN_STATES,
) -> TrainedModels:
    """Train as `musichash_core.training.train_models` does; keep the state in the store meanwhile.

    The state stays when this returns: remove it (`storage.training_state_store`) once the models
    are stored.

    Parameters
    ----------
    say : callable, optional
        Told in a sentence that a state is gone on from, or why one is not.
    seconds_between_states : >= 0
        States follow one another at this distance, or at that of the epochs where those are longer.

    Raises
    ------
    ParameterError, TrainingError
        See `train_models`.
    """
    data = prepare_training_data(tracks, genres, groups, config.training)
    tell = say if say is not None else _ignore
    written = time.monotonic()

    def keep(state: TrainingState) -> None:
        nonlocal written
        if time.monotonic() - written >= seconds_between_states:
            write_training_state(layout, state)
            written = time.monotonic()

    return train_prepared(
        data,
        config,
        device=device,
        on_event=on_event,
        on_state=keep,
        resume=_stored_state(layout, training_identity(data, config), tell),
    )


def _stored_state(
    layout: StoreLayout, identity: str, tell: Callable[[str], None]
) -> TrainingState | None:
    """Give the state to go on from; None, with the reason told, when there is none of use."""
    try:
        state = read_training_state(layout)
    except ArtefactMissingError:
        return None
    except StoreError as error:
        tell(f"the state of a stopped training is of no use, training begins anew: {error}")
        return None
    if state.identity != identity:
        tell(
            "the state of a stopped training is of other tracks, labels or settings; training "
            "begins anew"
        )
        return None
    tell(
        f"going on with a training that was stopped after epoch {state.epoch} of the "
        f"{state.stage} network"
    )
    return state


def _ignore(sentence: str) -> None:
    """Take a sentence and do nothing."""
