"""The pretrained encoder of an evaluation: its maps and vectors, and hashing networks upon them.

Nothing of the encoder depends on a seed but the random crops, so all else is computed once:
vectors (kept in the evaluation's folder too), maps of the encoded tracks, genres. Crops of the last
seed are kept. Public: `PretrainedEvaluation`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from musichash_core.compute_device import choose_device, reproducible_torch
from musichash_core.crnn_hash import CRNNHash
from musichash_core.descriptor_models import DescribedTracks, train_descriptor_models
from musichash_core.descriptors import DESCRIPTION_NETWORK, describe_track
from musichash_core.evaluation.genre_scores import mean_by_track
from musichash_core.hash_baselines.hash_centres import hash_centres
from musichash_core.hash_training import (
    PyramidTraining,
    select_training_maps,
    train_on_pyramids,
)
from musichash_core.model_config import ModelConfig
from musichash_core.musicnn.networks import MusiCNN
from musichash_core.musicnn.pretrained import load_musicnn
from musichash_core.pretrained_encoder import (
    PretrainedEncoder,
    VectorCRNNHash,
    VectorPyramids,
    fit_genre_head,
    pooled_maps,
    settings_for_encoder,
    standardise_vectors,
)
from musichash_core.pyramid_cache import (
    EvenSegments,
    TrainingCrops,
    cache_even_segments,
    cache_tracks,
    cache_training_crops,
)
from musichash_core.segments import FrameSource, cut_segments, segment_starts
from musichash_core.training_data import TrainingData, prepare_training_data
from musichash_core.training_records import TrainingEvent
from musichash_core.training_state import TrainingSession, training_identity
from musichash_core.validation_map import choose_database
from storage.evaluations import EvaluationFolder
from tasks.evaluation_networks import EncoderOutput, PooledMaps
from tasks.evaluation_tracks import EvaluationTracks

SCORING_BATCH = 256
"""Segments per call of a hashing network."""

GENRE_SHARE = 2.0
"""Of the genre head's codes beside a network's logits in CRNNH+. Chosen on the training side alone,
divided again (two splits, three seeds), together with `DescriptorHeadsConfig.genre_power`."""


@dataclass(frozen=True, slots=True)
class _Pyramids:
    """What hashing networks of one kind read, see `PretrainedEvaluation`."""

    selected: torch.Tensor
    crops: TrainingCrops
    validation: EvenSegments | None
    encoded: EvenSegments


class PretrainedEvaluation:
    """Gives the encoder's outputs for the tracks of an evaluation, and trains on them.

    Parameters
    ----------
    found : EvaluationTracks
        With `EvaluationTracks.tagger_tracks`.
    models : ModelConfig
        As configured.
    positions : (n_encoded,) int64
        In ``found.tracks``: the tracks whose outputs are wanted, ascending.
    device : str
    folder : EvaluationFolder
        Where vectors are kept.
    """

    def __init__(
        self,
        found: EvaluationTracks,
        models: ModelConfig,
        positions: NDArray[np.int64],
        *,
        device: str,
        folder: EvaluationFolder,
    ) -> None:
        self._found = found
        self._positions = positions
        self._device = choose_device(device)
        self._folder = folder
        network = load_musicnn(DESCRIPTION_NETWORK)
        assert isinstance(network, MusiCNN)
        self._network = network
        self._config = settings_for_encoder(models, network)
        self._pyramids_of: dict[tuple[str, str], tuple[int, _Pyramids]] = {}
        self._encoded_of: dict[tuple[str, str, bytes], EvenSegments] = {}

    def settings(self, config: ModelConfig) -> ModelConfig:
        """Give settings that fit the encoder; the rest as in `config`."""
        return settings_for_encoder(config, self._network)

    @cached_property
    def _data(self) -> TrainingData:
        """The training side, with tagger frames; validation tracks decide when to stop."""
        found = self._found
        return prepare_training_data(
            found.tagger_tracks,
            found.labels,
            found.groups,
            self._config.training,
            split=found.split,
        )

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """Descriptors of all tracks, ``(n_tracks, n_numbers)``, computed once per evaluation."""
        kept = self._folder.vectors()
        if kept is not None and len(kept) == len(self._found.tracks):
            return kept
        rows = []
        pairs = zip(self._found.tracks, self._found.tagger_tracks, strict=True)
        with self._reproducible(0):
            network = load_musicnn(DESCRIPTION_NETWORK)  # the encoder's may be on a GPU
            assert isinstance(network, MusiCNN)
            for track, tagger in pairs:
                whole: FrameSource = tagger.frames[0 : len(tagger.frames)][:, 0]
                rows.append(describe_track(network, track, whole).vector)
        vectors = np.stack(rows)
        self._folder.keep_vectors(vectors)
        return vectors

    def baseline_output(self, pooled: PooledMaps) -> EncoderOutput:
        """Give what baselines are fitted on, for the encoded tracks: vectors, or pooled maps."""
        if pooled == "descriptors":
            rows = np.arange(len(self._positions), dtype=np.int64)
            return EncoderOutput(self.vectors[self._positions], rows, self._genres)
        z, rows = self._pooled
        width = 2 * self._encoder.widths[-1]
        return EncoderOutput(z[:, -width:] if pooled == "last" else z, rows, self._genres)

    @property
    def genres(self) -> NDArray[np.int64]:
        """Genres of the encoded tracks by the encoder's linear layer, ``(n_encoded,)`` int64."""
        return self._genres

    @cached_property
    def _encoder(self) -> PretrainedEncoder:
        network, n_genres = self._network, len(self._found.genres)
        return PretrainedEncoder(network, n_genres=n_genres).eval().to(self._device)

    @cached_property
    def _pooled(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Pooled maps of every segment of the encoded tracks, and the row of its track.

        Means of all blocks but the last, then means and maxima of the last.
        """
        z, rows = [], []
        segments, encoder = self._config.segments, self._encoder
        with self._reproducible(0), torch.inference_mode():
            for row, place in enumerate(self._positions):
                track = self._found.tagger_tracks[place]
                cut = cut_segments(track, segment_starts(len(track.frames), segments), segments)
                maps = encoder.feature_maps(torch.from_numpy(cut).to(self._device))
                means = [one.mean(dim=(2, 3)) for one in maps[:-1]]
                z.append(torch.cat([*means, pooled_maps(maps[-1])], dim=1).cpu().numpy())
                rows.append(np.full(len(cut), row, dtype=np.int64))
        return np.concatenate(z), np.concatenate(rows)

    @cached_property
    def _genres(self) -> NDArray[np.int64]:
        """Fit the linear layer on the training side; the largest mean log-probability wins."""
        z, rows = self._pooled
        deepest = torch.from_numpy(z[:, -2 * self._encoder.widths[-1] :])
        place = {position: row for row, position in enumerate(self._positions.tolist())}
        genre_of = np.full(len(self._positions), -1, dtype=np.int64)
        for position in self._found.divided.positions("train").tolist():
            genre_of[place[position]] = self._found.genres.index(self._found.labels[position])
        used = genre_of[rows] >= 0
        with self._reproducible(0):
            fit_genre_head(self._encoder, deepest[used], genre_of[rows][used])
            with torch.inference_mode():
                logits = self._encoder.genre_head(deepest.to(self._device))
        log_p = logits.double().log_softmax(dim=1).cpu().numpy()
        means: NDArray[np.float64] = mean_by_track(log_p, rows, len(self._positions))
        best: NDArray[np.int64] = means.argmax(axis=1)
        return best

    def descriptor_heads(
        self, config: ModelConfig, on_event: Callable[[TrainingEvent], None]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Train the product's own heads on the training side's vectors.

        Without the vectors of halves that a night trains them on too: no other method has them.

        Parameters
        ----------
        config : ModelConfig
            With seed and length.

        Returns
        -------
        genres : (n_encoded,) int64
            In ``found.genres``.
        logits : (n_encoded, n_bits) float32
        """
        data = self._data
        items = DescribedTracks(
            tuple(track.track_id for track in data.tracks),
            np.repeat(self.vectors[self._rows_of_data, None], 3, axis=1),
            tuple(data.genres[label] for label in data.labels),
            tuple(data.groups.tolist()),
        )
        models = train_descriptor_models(items, config, split=data.split, on_event=on_event).models
        assert models.genre_head is not None
        assert models.genres == self._found.genres
        vectors = torch.from_numpy(self.vectors[self._positions])
        with self._reproducible(config.training.seed), torch.inference_mode():
            probabilities = models.genre_head(vectors).exp()
            logits = models.hash_head(vectors, probabilities)
        return probabilities.argmax(dim=1).numpy(), logits.numpy()

    @cached_property
    def _rows_of_data(self) -> NDArray[np.int64]:
        """Place of each track of the training side among all tracks."""
        rows = {track.track_id: row for row, track in enumerate(self._found.tracks)}
        return np.array([rows[track.track_id] for track in self._data.tracks], dtype=np.int64)

    def hash_logits(
        self,
        config: ModelConfig,
        *,
        sees_vectors: bool,
        on_event: Callable[[TrainingEvent], None],
    ) -> NDArray[np.float64]:
        """Train a hashing network; give the logits of the encoded tracks, by the track rule.

        Parameters
        ----------
        config : ModelConfig
            From `settings`, with seed and length; a change of it where the method is one.
        sees_vectors : bool
            Whether its skip sees the tracks' vectors as well; then the codes of the product's genre
            head count too (`GENRE_SHARE`), which are drawn to the same centres.

        Returns
        -------
        (n_encoded, n_bits) float64
        """
        pyramids = self._pyramids(config)
        logits = self._train_one(config, pyramids, on_event, sees_vectors=sees_vectors)
        if not sees_vectors:
            return logits
        genres_only = config.heads.model_copy(update={"detail_weight": 0.0})
        _, of_genres = self.descriptor_heads(
            config.model_copy(update={"heads": genres_only}), on_event
        )
        return _of_unit_size(logits) + GENRE_SHARE * _of_unit_size(of_genres)

    def _train_one(
        self,
        config: ModelConfig,
        pyramids: _Pyramids,
        on_event: Callable[[TrainingEvent], None],
        *,
        sees_vectors: bool,
    ) -> NDArray[np.float64]:
        """Train one network; give the encoded tracks' logits."""
        data, seed = self._data, config.training.seed
        crops, validation, encoded = pyramids.crops, pyramids.validation, pyramids.encoded
        if sees_vectors:
            crops, validation, encoded = self._with_vectors(pyramids)
        with self._reproducible(seed):
            model = self._new_network(config, sees_vectors=sees_vectors)
            model.set_selected_maps(pyramids.selected)
            if config.crnn_hash.head == "centres":
                centres = hash_centres(len(data.genres), config.crnn_hash.n_bits, seed=seed)
                model.set_centres(torch.from_numpy(centres))
            rng = np.random.default_rng([seed, 4])
            training = PyramidTraining(data, config, crops, validation, rng)
            session = TrainingSession(training_identity(data, config), on_event)
            train_on_pyramids(model, training, session)
            return _track_logits(model.eval(), encoded, self._device)

    def _new_network(self, config: ModelConfig, *, sees_vectors: bool) -> CRNNHash:
        n_genres, widths = len(self._data.genres), self._encoder.widths
        if not sees_vectors:
            return CRNNHash(config.crnn_hash, widths=widths, n_genres=n_genres).to(self._device)
        n_vector = self.vectors.shape[1]
        return VectorCRNNHash(
            config.crnn_hash, widths=widths, n_genres=n_genres, n_vector=n_vector
        ).to(self._device)

    def _pyramids(self, config: ModelConfig) -> _Pyramids:
        """Give the pyramids of the networks that read what this one reads, for its seed."""
        # A network without recurrent part reads the means only, which all kinds have.
        reads = "time" if config.crnn_hash.recurrent == "time" else "maps"
        kind, seed = (reads, config.crnn_hash.blocks), config.training.seed
        kept = self._pyramids_of.get(kind)
        if kept is not None and kept[0] == seed:
            return kept[1]
        config = _readable(config)
        with self._reproducible(seed):
            model = self._new_network(config, sees_vectors=False)
            model.set_selected_maps(select_training_maps(model, self._encoder, self._data, config))
            crops = cache_training_crops(
                model, self._encoder, self._data, config, np.random.default_rng([seed, 3])
            )
            validation: EvenSegments | None = None
            if len(self._data.split.validation):
                positions, _ = choose_database(self._data)
                validation = cache_even_segments(
                    model, self._encoder, self._data, positions, config
                )
            encoded = self._encoded(model, config, kind)
        pyramids = _Pyramids(model.selected.cpu(), crops, validation, encoded)
        self._pyramids_of[kind] = (seed, pyramids)
        return pyramids

    def _encoded(self, model: CRNNHash, config: ModelConfig, kind: tuple[str, str]) -> EvenSegments:
        """Give the pyramids of all encoded tracks; other seeds often select the same maps."""
        key = (*kind, model.selected.cpu().numpy().tobytes())
        if key not in self._encoded_of:
            self._encoded_of[key] = cache_tracks(
                model,
                self._encoder,
                self._found.tagger_tracks,
                self._positions,
                config.segments,
            )
        return self._encoded_of[key]

    def _with_vectors(
        self, pyramids: _Pyramids
    ) -> tuple[TrainingCrops, EvenSegments | None, EvenSegments]:
        """Put vectors beside the means; they are standardised by the training side."""
        of_data = self._rows_of_data
        is_training = np.zeros(len(self._found.tracks), dtype=bool)
        is_training[of_data[self._data.split.train]] = True
        vectors = standardise_vectors(self.vectors, is_training)

        def joined(even: EvenSegments, rows: NDArray[np.int64]) -> EvenSegments:
            of_segment = np.repeat(rows, even.lengths)
            return replace(even, cache=VectorPyramids(even.cache, vectors, of_segment))

        crops, validation = pyramids.crops, pyramids.validation
        of_crop = np.repeat(of_data[crops.positions], crops.n_crops)
        return (
            replace(crops, cache=VectorPyramids(crops.cache, vectors, of_crop)),
            validation and joined(validation, of_data[validation.positions]),
            joined(pyramids.encoded, self._positions),
        )

    @contextmanager
    def _reproducible(self, seed: int) -> Iterator[None]:
        with reproducible_torch(seed, self._config.training.n_threads, self._device):
            yield


def _readable(config: ModelConfig) -> ModelConfig:
    """Give settings of a network that reads maps, for one without a recurrent part."""
    if config.crnn_hash.recurrent != "none":
        return config
    crnn_hash = config.crnn_hash.model_copy(update={"recurrent": "hierarchical"})
    return config.model_copy(update={"crnn_hash": crnn_hash})


@torch.inference_mode()
def _track_logits(
    model: CRNNHash, encoded: EvenSegments, device: torch.device
) -> NDArray[np.float64]:
    """Average the logits of each track's segments, ``(n_tracks, n_bits)``."""
    blocks = np.array_split(np.arange(len(encoded.cache)), -(-len(encoded.cache) // SCORING_BATCH))
    logits = torch.cat(
        [model(encoded.cache.read(block, device)).logits.double().cpu() for block in blocks]
    )
    by_track = torch.split(logits, list(encoded.lengths))
    means: NDArray[np.float64] = torch.stack([one.mean(dim=0) for one in by_track]).numpy()
    return means


def _of_unit_size(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Bring the mean size of a bit's logit to 1, so that two methods count alike."""
    return np.asarray(logits / np.abs(logits).mean(), dtype=np.float64)
