"""The work of an evaluation: train or fit one method at one length with one seed, and score it.

Public: `Work`, `Progress`.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from musichash_core.model_config import ModelConfig
from storage.evaluations import EvaluationFolder
from tasks.evaluation_front_ends import FrontEnds
from tasks.evaluation_methods import (
    DESCRIPTOR_HASH,
    DESCRIPTOR_HEAD,
    HASH_NETWORKS,
    LINEAR_HEAD,
    SEES_VECTORS,
    baseline_logits,
    settings_for,
)
from tasks.evaluation_recognition import forest_genres, judged_positions, recognition_row
from tasks.evaluation_scores import answerable_databases, encoded_positions, score_logits
from tasks.evaluation_studies import Variant
from tasks.evaluation_tables import Unit
from tasks.evaluation_tracks import EvaluationTracks

if TYPE_CHECKING:  # importing them loads torch
    from musichash_core.training_records import TrainingEvent
    from tasks.evaluation_networks import Encoder, EncoderOutput, PooledMaps
    from tasks.evaluation_pretrained import PretrainedEvaluation

Progress = Callable[[int, int, str], None]
"""Takes units done, units to do, and what is being done."""

UNUSED_BITS = 16
"""Given to REAL, which has no length."""


class Work:
    """Does one unit after the other; keeps the encoder of the last seed.

    Parameters
    ----------
    tracks : EvaluationTracks
    models : ModelConfig
        As configured; seeds and lengths are those of the units.
    device : str
    pooled : "last", "all" or "descriptors"
        See `tasks.evaluation_networks.PooledMaps`.
    folder : EvaluationFolder
    on_progress : callable
        Takes units done, units to do, and what is being done.
    n_units : int
        To do in all.
    variants : sequence of Variant
        Rows of a study.
    front_ends : FrontEnds
        Whose features they are trained on.
    """

    def __init__(  # noqa: PLR0913 - what is evaluated, how, and who is told
        self,
        tracks: EvaluationTracks,
        models: ModelConfig,
        *,
        device: str,
        pooled: "PooledMaps",
        folder: EvaluationFolder,
        on_progress: Progress,
        n_units: int,
        variants: Sequence[Variant],
        front_ends: FrontEnds,
    ) -> None:
        self._tracks = tracks
        self._models = models
        self._pooled = pooled
        self._device = device
        self._folder = folder
        self._on_progress = on_progress
        self._n_units = n_units
        self._variants = {variant.key: variant for variant in variants}
        self._front_ends = front_ends
        self._n_done = 0
        self._unit: Unit | None = None
        self._encoder_of: tuple[int, Encoder, EncoderOutput] | None = None

    def do(self, unit: Unit) -> dict[str, Any]:
        """Do one unit; give its row."""
        self._unit = unit
        self._on_progress(self._n_done, self._n_units, unit.name)
        content = self._recognise(unit) if unit.task == "recognition" else self._retrieve(unit)
        self._n_done += 1
        self._on_progress(self._n_done, self._n_units, unit.name)
        return content

    @cached_property
    def _positions(self) -> NDArray[np.int64]:
        return encoded_positions(self._tracks)

    @cached_property
    def _databases(self) -> tuple[str, ...]:
        return answerable_databases(self._tracks)

    def _recognise(self, unit: Unit) -> dict[str, Any]:
        judged = judged_positions(self._tracks)
        if unit.method == "mfcc-rf":
            return recognition_row(self._tracks, forest_genres(self._tracks, unit.seed))
        if unit.method in self._variants:
            variant = self._variants[unit.method]
            return recognition_row(self._tracks, self._genres_by(variant, unit.seed, judged))
        rows = np.searchsorted(self._positions, judged)
        if unit.method == DESCRIPTOR_HEAD:
            settings = settings_for(self._models, seed=unit.seed)
            genres, _ = self._pretrained.descriptor_heads(settings, self._tell)
            return recognition_row(self._tracks, genres[rows])
        if unit.method == LINEAR_HEAD:
            return recognition_row(self._tracks, self._pretrained.genres[rows])
        _, output = self._encoder(unit.seed)
        return recognition_row(self._tracks, output.genre[rows])

    def _genres_by(
        self, variant: Variant, seed: int, judged: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Train a variant of the genre network; give the genres of the judged tracks."""
        from tasks.evaluation_networks import read_encoder, train_encoder, with_channels

        with self._front_ends.tracks_seen_by(variant, self._tracks) as seen:
            encoder = train_encoder(
                seen,
                settings_for(variant.models, seed=seed),
                device=self._device,
                channels=variant.channels,
                on_event=self._tell,
            )
            tracks = [with_channels(seen.tracks[place], variant.channels) for place in judged]
            return read_encoder(encoder, tracks).genre

    def _retrieve(self, unit: Unit) -> dict[str, Any]:
        from musichash_core.hash_baselines.registry import BASELINES

        logits: NDArray[np.floating]
        is_binary = True
        if unit.method in HASH_NETWORKS:
            logits = self._network_logits(unit)
        elif unit.method == DESCRIPTOR_HASH:
            settings = settings_for(self._models, seed=unit.seed, n_bits=unit.n_bits)
            _, logits = self._pretrained.descriptor_heads(settings, self._tell)
        else:
            is_binary = BASELINES[unit.method].is_binary
            logits = baseline_logits(
                unit.method,
                self._output(unit.seed),
                self._is_training,
                self._labels,
                n_bits=unit.n_bits or UNUSED_BITS,
                seed=unit.seed,
            )
        return score_logits(
            self._tracks, self._positions, logits, self._databases, is_binary=is_binary
        )

    def _network_logits(self, unit: Unit) -> NDArray[np.floating]:
        from tasks.evaluation_networks import train_hash_logits

        configured = settings_for(self._models, seed=unit.seed, n_bits=unit.n_bits)
        adapt = HASH_NETWORKS[unit.method].adapt
        if self._is_pretrained:
            return self._pretrained.hash_logits(
                adapt(self._pretrained.settings(configured)),
                sees_vectors=self._pooled == "descriptors" and unit.method in SEES_VECTORS,
                on_event=self._tell,
            )
        encoder, _ = self._encoder(unit.seed)
        tracks = [self._tracks.tracks[place] for place in self._positions]
        return train_hash_logits(encoder, adapt(configured), tracks, on_event=self._tell)

    @property
    def _is_pretrained(self) -> bool:
        return bool(self._tracks.tagger_tracks)

    @cached_property
    def _pretrained(self) -> "PretrainedEvaluation":
        from tasks.evaluation_pretrained import PretrainedEvaluation

        return PretrainedEvaluation(
            self._tracks,
            self._models,
            self._positions,
            device=self._device,
            folder=self._folder,
        )

    def _output(self, seed: int) -> "EncoderOutput":
        """Give what baselines read; that of the pretrained encoder is the same for every seed."""
        if self._is_pretrained:
            return self._pretrained_output
        return self._encoder(seed)[1]

    @cached_property
    def _pretrained_output(self) -> "EncoderOutput":
        return self._pretrained.baseline_output(self._pooled)

    @cached_property
    def _is_training(self) -> NDArray[np.bool_]:
        return np.isin(self._positions, self._tracks.divided.positions("train"))

    @cached_property
    def _labels(self) -> NDArray[np.int64]:
        """Genres of the encoded tracks; 0 for those of genres that are not trained on."""
        genres = self._tracks.genres
        labels = [self._tracks.labels[place] for place in self._positions]
        return np.array(
            [genres.index(label) if label in genres else 0 for label in labels], dtype=np.int64
        )

    def _encoder(self, seed: int) -> "tuple[Encoder, EncoderOutput]":
        """Train the encoder of a seed, or give it again; and its output for the encoded tracks."""
        from tasks.evaluation_networks import read_encoder, train_encoder

        if self._encoder_of is None or self._encoder_of[0] != seed:
            encoder = train_encoder(
                self._tracks,
                settings_for(self._models, seed=seed),
                device=self._device,
                on_event=self._tell,
            )
            tracks = [self._tracks.tracks[place] for place in self._positions]
            output = read_encoder(encoder, tracks, pooled=self._pooled)
            self._encoder_of = (seed, encoder, output)
        return self._encoder_of[1:]

    def _tell(self, event: "TrainingEvent") -> None:
        """Pass an epoch on."""
        assert self._unit is not None
        what = f"{self._unit.name}: {event.stage} epoch {event.epoch}/{event.n_epochs}"
        self._on_progress(self._n_done, self._n_units, what)
