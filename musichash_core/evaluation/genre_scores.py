"""How well one genre per track is recognised: from segments to tracks, overall and by genre.

Public: `mean_by_track`, `score_genres`, `GenreScores`, `GenreRow`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import ParameterError
from musichash_core.metrics import accuracy, confusion_matrix, macro_f1, macro_recall


@dataclass(frozen=True, slots=True)
class GenreRow:
    """One genre in the table.

    Attributes
    ----------
    genre : str
    n_tracks, n_predicted : int
        Tracks that have it, and tracks said to have it.
    recall, precision, f1 : float
        0 where there is nothing to count.
    """

    genre: str
    n_tracks: int
    n_predicted: int
    recall: float
    precision: float
    f1: float


@dataclass(frozen=True, slots=True)
class GenreScores:
    """Recognition of genres on a set of tracks.

    Attributes
    ----------
    accuracy, macro_recall, macro_f1 : float
    chance : float
        Share of the most frequent genre: the accuracy of always saying it.
    confusion : (n_genres, n_genres) int64
        Row = true genre, column = predicted genre.
    is_right : (n_tracks,) bool
        Per track, for the bootstrap.
    rows : tuple of GenreRow
        In the order of the genres.
    """

    accuracy: float
    macro_recall: float
    macro_f1: float
    chance: float
    confusion: NDArray[np.int64]
    is_right: NDArray[np.bool_]
    rows: tuple[GenreRow, ...]

    def figures(self) -> dict[str, float]:
        """Give the row of a table."""
        return {
            "n_tracks": float(len(self.is_right)),
            "accuracy": self.accuracy,
            "macro_recall": self.macro_recall,
            "macro_f1": self.macro_f1,
            "chance": self.chance,
        }

    def macro_recall_without(self, genre: str) -> float:
        """Average the recall over the other genres that occur; 0 if none does."""
        recalls = [row.recall for row in self.rows if row.n_tracks and row.genre != genre]
        return float(np.mean(recalls)) if recalls else 0.0


def mean_by_track(
    segment_values: NDArray[np.floating], track_of_segment: NDArray[np.int64], n_tracks: int
) -> NDArray[np.float64]:
    """Average the segments of each track: log-probabilities, whose argmax is the track's genre.

    Parameters
    ----------
    segment_values : (n_segments, n_values) float
    track_of_segment : (n_segments,) int64
        0 to ``n_tracks - 1``, in any order.

    Returns
    -------
    (n_tracks, n_values) float64

    Raises
    ------
    ParameterError
        Shapes do not fit, a value is NaN, or a track has no segment.
    """
    values, track = np.asarray(segment_values, dtype=np.float64), np.asarray(track_of_segment)
    if values.ndim != 2 or track.shape != values.shape[:1]:
        raise ParameterError(f"segments {values.shape} and their tracks {track.shape}: want (n, m)")
    if np.isnan(values).any():
        raise ParameterError("segment values contain NaN; the model or its input is damaged")
    if len(track) and (track.min() < 0 or track.max() >= n_tracks):
        raise ParameterError(f"tracks {track.min()}..{track.max()}: want 0..{n_tracks - 1}")
    counts = np.bincount(track, minlength=n_tracks)
    if not counts.all():
        raise ParameterError(f"track {int(counts.argmin())} of {n_tracks} has no segment")
    sums = np.zeros((n_tracks, values.shape[1]))
    np.add.at(sums, track, values)
    return np.asarray(sums / counts[:, None])


def score_genres(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], genres: Sequence[str]
) -> GenreScores:
    """Score predicted genres.

    Parameters
    ----------
    truth, predicted : (n_tracks,) int64
        Positions in `genres`; at least one track.
    genres : sequence of str
    """
    if not len(truth):
        raise ParameterError("there are no tracks to score")
    confusion = confusion_matrix(truth, predicted, len(genres))
    return GenreScores(
        accuracy=accuracy(confusion),
        macro_recall=macro_recall(confusion),
        macro_f1=macro_f1(confusion),
        chance=float(confusion.sum(axis=1).max() / confusion.sum()),
        confusion=confusion,
        is_right=np.asarray(truth) == np.asarray(predicted),
        rows=tuple(_genre_row(genre, place, confusion) for place, genre in enumerate(genres)),
    )


def _genre_row(genre: str, place: int, confusion: NDArray[np.int64]) -> GenreRow:
    """Read one genre's figures off the confusion matrix."""
    n_right = int(confusion[place, place])
    n_tracks, n_predicted = int(confusion[place].sum()), int(confusion[:, place].sum())
    return GenreRow(
        genre=genre,
        n_tracks=n_tracks,
        n_predicted=n_predicted,
        recall=n_right / max(1, n_tracks),
        precision=n_right / max(1, n_predicted),
        f1=2 * n_right / max(1, n_tracks + n_predicted),
    )
