"""Recognition of genres in an evaluation: the genre network, and a simple baseline beside it.

The baseline is a random forest on statistics of cepstral coefficients. They are taken from the
stored mel power (its cosine transform), so they are like MFCC, but not those of another program.
It needs scikit-learn, which only developers install; without it the row is left out.

Public: `judged_positions`, `recognition_row`, `forest_genres`, `has_forest`, `cepstral_statistics`,
`RECOGNISERS`.
"""

import importlib
from importlib.util import find_spec
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from musichash_core.decibels import bytes_to_db
from musichash_core.evaluation.genre_scores import score_genres
from musichash_core.segments import TrackFrames
from tasks.evaluation_tracks import EvaluationTracks

RECOGNISERS = {
    "hpss-cnn": "HPSS-CNN (O+H+P)",
    "mfcc-rf": "MFCC-like statistics + random forest",
}

N_COEFFICIENTS = 20
N_TREES = 500


def has_forest() -> bool:
    """Say whether scikit-learn is installed."""
    return find_spec("sklearn") is not None


def judged_positions(found: EvaluationTracks) -> NDArray[np.int64]:
    """Give the tracks that recognition is judged on: those of seen genres that were never used."""
    return found.divided.positions("db", "query")


def recognition_row(found: EvaluationTracks, predicted: NDArray[np.int64]) -> dict[str, Any]:
    """Score the genres predicted for `judged_positions`; plain numbers, ready for JSON.

    Parameters
    ----------
    predicted : (n_tracks,) int64
        Positions in ``found.genres``.

    Returns
    -------
    dict
        ``figures``, ``is_right`` of every track, ``confusion`` (row = true genre).
    """
    genres = found.genres
    truth = [genres.index(found.labels[place]) for place in judged_positions(found)]
    scores = score_genres(np.array(truth, dtype=np.int64), predicted, genres)
    return {
        "figures": scores.figures(),
        "is_right": scores.is_right.astype(float).tolist(),
        "confusion": scores.confusion.tolist(),
    }


def forest_genres(found: EvaluationTracks, seed: int) -> NDArray[np.int64]:
    """Fit the forest on the training side; give the genres of `judged_positions`."""
    ensemble = importlib.import_module("sklearn.ensemble")
    train, judged = found.divided.positions("train"), judged_positions(found)
    forest = ensemble.RandomForestClassifier(
        n_estimators=N_TREES, random_state=seed, n_jobs=1, class_weight="balanced"
    )
    labels = [found.genres.index(found.labels[place]) for place in train]
    forest.fit(_statistics(found, train), labels)
    return np.asarray(forest.predict(_statistics(found, judged)), dtype=np.int64)


def cepstral_statistics(track: TrackFrames) -> NDArray[np.float64]:
    """Summarise a track: mean and deviation of 20 coefficients and of their changes.

    Parameters
    ----------
    track : TrackFrames
        The first channel is the original.

    Returns
    -------
    (80,) float64
        20 means, 20 deviations, and the same of the differences between consecutive frames.
    """
    mel_db = bytes_to_db(track.frames[0 : len(track.frames)][:, 0])
    coefficients = scipy.fft.dct(mel_db.astype(np.float64), axis=1, norm="ortho")
    coefficients = coefficients[:, :N_COEFFICIENTS]
    changes = np.diff(coefficients, axis=0) if len(coefficients) > 1 else 0.0 * coefficients
    parts = [statistic(values, axis=0) for values in (coefficients, changes) for statistic in _BOTH]
    return np.concatenate(parts)


_BOTH = (np.mean, np.std)


def _statistics(found: EvaluationTracks, positions: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.stack([cepstral_statistics(found.tracks[place]) for place in positions])
