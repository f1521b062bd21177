"""The methods that an evaluation compares: hashing networks, baselines, and the channels studied.

Importing this loads neither torch nor the baselines: names can be checked and listed at once.

Public: `HASH_NETWORKS`, `HashNetwork`, `BASELINE_KEYS`, `METHOD_KEYS`, `INPUT_CHANNELS`,
`SEES_VECTORS`, `DESCRIPTOR_HASH`, `DESCRIPTOR_NAME`, `LINEAR_HEAD`, `DESCRIPTOR_HEAD`,
`PRETRAINED_RECOGNISERS`, `check_methods`, `baseline_logits`, `settings_for`.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import ParameterError
from musichash_core.evaluation.genre_scores import mean_by_track
from musichash_core.model_config import ModelConfig

if TYPE_CHECKING:  # importing it loads torch
    from tasks.evaluation_networks import EncoderOutput


@dataclass(frozen=True, slots=True)
class HashNetwork:
    """A hashing network of ours: a change of the configured settings.

    Attributes
    ----------
    name : str
        As tables print it.
    source : str
        What it is.
    adapt : callable
        Takes the configured settings, gives those of this network.
    """

    name: str
    source: str
    adapt: Callable[[ModelConfig], ModelConfig]


def _network(*, loss: dict[str, Any], **network: Any) -> Callable[[ModelConfig], ModelConfig]:  # noqa: ANN401 - settings of several types
    """Give a function that changes configured settings and checks the result."""

    def adapt(config: ModelConfig) -> ModelConfig:
        plain = config.model_dump()
        plain["crnn_hash"] |= network
        plain["crnn_hash"].pop("head", None)  # follows the kind of the loss
        plain["loss"] |= loss
        return ModelConfig.model_validate(plain)

    return adapt


_LOSS_T0 = {"kind": "t0", "instance_weight": 0.0}
_LOSS_T = {"kind": "t", "instance_weight": 0.0}
_LOSS_O = {"kind": "ortho", "instance_weight": 0.0}

HASH_NETWORKS: dict[str, HashNetwork] = {
    "crnnh": HashNetwork(
        "CRNNH (T)",
        "a reconstruction: stacked LSTM, loss T",
        _network(recurrent="stack", n_pooled=0, loss=_LOSS_T),
    ),
    "crnnh-t0": HashNetwork(
        "CRNNH (T0)",
        "the same without the loss on pairs",
        _network(recurrent="stack", n_pooled=0, loss=_LOSS_T0),
    ),
    "crnnh-o": HashNetwork(
        "CRNNH (O)",
        "the same with fixed centres",
        _network(recurrent="stack", n_pooled=0, loss=_LOSS_O),
    ),
    "crnnh+": HashNetwork(
        "CRNNH+",
        "ours: hierarchical LSTM, pooled skip, loss O; with vectors, also the genre head's codes",
        _network(recurrent="hierarchical", loss=_LOSS_O),
    ),
    "configured": HashNetwork(
        "as configured", "what 'musichash run' trains with these settings", lambda config: config
    ),
    "ctrl-gap": HashNetwork(
        "CTRL-GAP",
        "control: means of all maps, no LSTM, loss T",
        _network(recurrent="none", loss=_LOSS_T),
    ),
    "ctrl-last": HashNetwork(
        "CTRL-LAST",
        "control: maps of the last block only",
        _network(recurrent="stack", n_pooled=0, blocks="last", loss=_LOSS_T),
    ),
    "ctrl-shuf": HashNetwork(
        "CTRL-SHUF",
        "control: maps in one random order",
        _network(recurrent="stack", n_pooled=0, shuffled_steps=True, loss=_LOSS_T),
    ),
    "ctrl-time": HashNetwork(
        "CTRL-TIME",
        "control: LSTM over time",
        _network(recurrent="time", n_pooled=0, loss=_LOSS_T),
    ),
}
"""Loss weights, sizes and training are as configured; what is named differs."""

ONLY_ON_REQUEST = ("ctrl-last", "ctrl-shuf", "ctrl-time")
"""Left out unless named: they answer a question of METHOD 4.3, not of the table of methods."""

SEES_VECTORS = ("crnnh+",)
"""Networks that see the vectors that the baselines see, where these see vectors."""

LINEAR_HEAD = "musicnn"
"""The pretrained encoder's row in the table of recognition."""

DESCRIPTOR_HEAD = "descriptor-head"

PRETRAINED_RECOGNISERS = {
    LINEAR_HEAD: "musicnn, linear layer on its last maps",
    DESCRIPTOR_HEAD: "genre head on descriptors",
}

DESCRIPTOR_HASH = "descriptor-hash"
"""What 'musichash run' makes of descriptors; needs the pretrained encoder."""

DESCRIPTOR_NAME = ("Descriptor codes", "ours: probable genres and detail of the vector, no network")
"""As tables print it, and what it is."""

BASELINE_KEYS = (
    *("lsh", "pca-rr", "itq", "sh", "cibhash", "itq-cca", "ksh", "sdh", "dsh", "dpsh"),
    *("hashnet", "greedyhash", "ssdh", "csq", "orthohash", "cls-hash", "real"),
)
"""Those of `musichash_core.hash_baselines.registry.BASELINES`, whose import loads torch."""

METHOD_KEYS = (*HASH_NETWORKS, DESCRIPTOR_HASH, *BASELINE_KEYS)

DECIDED_ONCE = "cls-hash"
"""Codes a track's class: it sees the track's mean features, not a vote of segments, which would
be more than a class."""

INPUT_CHANNELS: dict[str, tuple[int, ...]] = {
    "O": (0,),
    "H": (1,),
    "P": (2,),
    "O+H": (0, 1),
    "O+P": (0, 2),
    "H+P": (1, 2),
    "O+H+P": (0, 1, 2),
    "O+O+O": (0, 0, 0),
}
"""METHOD 3's first study; O+O+O has the parameters of O+H+P and nothing new to see."""

INPUT_CONTROL = "O+O+O"


def check_methods(methods: Sequence[str]) -> tuple[str, ...]:
    """Give the methods in the order of tables, each once; none given means the usual ones.

    The usual ones are those that every encoder has: without `DESCRIPTOR_HASH`.

    Raises
    ------
    ParameterError
        There is no such method.
    """
    for method in methods:
        if method not in METHOD_KEYS:
            nearest = difflib.get_close_matches(method, METHOD_KEYS, n=1, cutoff=0.0)
            raise ParameterError(
                f"there is no method {method!r}; did you mean {nearest[0]!r}? "
                f"Known are {', '.join(METHOD_KEYS)}"
            )
    if not methods:
        usual = (key for key in METHOD_KEYS if key not in ONLY_ON_REQUEST)
        return tuple(key for key in usual if key != DESCRIPTOR_HASH)
    return tuple(key for key in METHOD_KEYS if key in methods)


def settings_for(config: ModelConfig, *, seed: int, n_bits: int | None = None) -> ModelConfig:
    """Give the settings of one seed and, for a hashing network, one length."""
    training = config.training.model_copy(update={"seed": seed})
    update: dict[str, object] = {"training": training, "label_kind": "genre"}
    if n_bits is not None:
        update["crnn_hash"] = config.crnn_hash.model_copy(update={"n_bits": n_bits})
    return config.model_copy(update=update)


def baseline_logits(
    key: str,
    output: "EncoderOutput",
    is_training: NDArray[np.bool_],
    labels: NDArray[np.int64],
    *,
    n_bits: int,
    seed: int,
) -> NDArray[np.float64]:
    """Fit a baseline on the segments of training tracks; give every track's mean logits.

    Parameters
    ----------
    key : str
        One of `BASELINE_KEYS`.
    output : EncoderOutput
        Of all tracks.
    is_training : (n_tracks,) bool
    labels : (n_tracks,) int64
        Only those of training tracks are looked at.

    Returns
    -------
    (n_tracks, n_bits) float64
        The mean over segments, as for the networks; of `DECIDED_ONCE` of the mean features.
    """
    from musichash_core.hash_baselines.registry import BASELINES
    from musichash_core.hash_baselines.training_items import TrainingItems

    n_tracks, rows = len(is_training), output.track_of_segment
    used = is_training[rows]
    items = TrainingItems(output.features[used], labels[rows[used]], rows[used])
    fitted = BASELINES[key].fit(items, n_bits=n_bits, seed=seed)
    if key == DECIDED_ONCE:
        mean = mean_by_track(output.features, rows, n_tracks).astype(np.float32)
        return fitted.logits(mean).astype(np.float64)
    return mean_by_track(fitted.logits(output.features), rows, n_tracks)
