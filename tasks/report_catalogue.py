"""What the report says of the tracks of a snapshot, counted a few rows at a time.

Everything is counted over all rows, by Arrow; only lists of names are cut.

Public: `CatalogueCounter`, `COUNTED_TRACKS`, `CatalogueFacts`, `Count`, `most_frequent`.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.value_counts import value_counts

TOP_NAMES = 20
"""Labels, genres and formats that are listed by name."""

TOP_ROOTS = 20


@dataclass(frozen=True, slots=True)
class Count:
    """How often one value occurs.

    Attributes
    ----------
    name : str
        The value.
    count : int
        Its number.
    share : float
        Of all, 0 to 1.
    """

    name: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class LabelCount:
    """Tracks of one label, and tracks that the model calls by that name.

    Attributes
    ----------
    name : str or None
        None for tracks without a label.
    n_tracks, n_predicted : int
    audio_s : float
        Decoded audio of the label's tracks, seconds.
    """

    name: str | None
    n_tracks: int
    n_predicted: int
    audio_s: float


@dataclass(frozen=True, slots=True)
class CatalogueFacts:
    """The tracks of a snapshot.

    Attributes
    ----------
    roots : list of str
        The first catalogue roots; `n_roots` counts all.
    n_tracks, n_ok, n_failed, n_duplicate_files : int
        Tracks, those with and without features, and files with the bytes of another file.
    n_bytes : int
        Size of the tracks, each counted once.
    audio_s : float
        Decoded audio, seconds.
    labels : list of LabelCount
        The largest; `n_labels` counts all, without "no label".
    containers, codecs, sample_rates, channels, warnings : list of Count
        Of the tracks that were decoded.
    durations_s, levels_db : (n_ok,) float64
        Length in seconds, and root mean square in dB re full scale.
    """

    roots: list[str]
    n_roots: int
    n_tracks: int
    n_ok: int
    n_failed: int
    n_duplicate_files: int
    n_bytes: int
    audio_s: float
    labels: list[LabelCount]
    n_labels: int
    containers: list[Count]
    codecs: list[Count]
    sample_rates: list[Count]
    channels: list[Count]
    warnings: list[Count]
    durations_s: NDArray[np.float64]
    levels_db: NDArray[np.float64]


COUNTED_TRACKS = (
    *("track_id", "root", "locations", "label", "n_bytes", "status", "duration_s", "container"),
    *("codec", "sr", "n_channels", "warnings", "rms_db"),
)
"""Columns of the tracks table that are counted."""


class CatalogueCounter:
    """Counts the tracks and predictions of a snapshot, a few rows at a time."""

    def __init__(self) -> None:
        self._roots: set[str] = set()
        self._counts: dict[str, Counter[str]] = defaultdict(Counter)
        self._sums: Counter[str] = Counter()
        self._audio_s = 0.0
        self._labelled: dict[str | None, _OfLabel] = defaultdict(_OfLabel)
        self._durations_s, self._levels_db = _Floats(), _Floats()

    def add(self, tracks: pa.Table, predictions: pa.Table) -> None:
        """Count some rows.

        Parameters
        ----------
        tracks : pyarrow.Table
            With the columns `COUNTED_TRACKS`.
        predictions : pyarrow.Table
            With the column ``genre``; of any tracks.
        """
        decoded = tracks.filter(pc.equal(tracks["status"], "ok"))
        self._roots.update(pc.unique(tracks["root"]).to_pylist())
        for name in ("container", "codec", "sr", "n_channels"):
            self._counts[name] += value_counts(decoded[name])
        self._counts["warnings"] += value_counts(pc.list_flatten(decoded["warnings"]))
        for name, value in (
            ("tracks", len(tracks)),
            ("decoded", len(decoded)),
            ("locations", pc.sum(pc.list_value_length(tracks["locations"])).as_py()),
            ("bytes", pc.sum(tracks["n_bytes"]).as_py()),
        ):
            self._sums[name] += value or 0
        self._audio_s += pc.sum(decoded["duration_s"]).as_py() or 0.0
        self._durations_s.add(decoded["duration_s"])
        self._levels_db.add(decoded["rms_db"])
        grouped = tracks.group_by("label").aggregate([("track_id", "count"), ("duration_s", "sum")])
        for row in grouped.to_pylist():
            self._labelled[row["label"]].n_tracks += row["track_id_count"]
            self._labelled[row["label"]].audio_s += row["duration_s_sum"] or 0.0
        for entry in pc.value_counts(predictions["genre"]).to_pylist():
            self._labelled[entry["values"]].n_predicted += entry["counts"]

    def facts(self) -> CatalogueFacts:
        """Give what was counted."""
        sums, n_ok = self._sums, self._sums["decoded"]
        labels = self._label_counts()
        rates = [
            replace(rate, name=f"{int(rate.name):,} Hz")
            for rate in most_frequent(self._counts["sr"], n_ok)
        ]
        return CatalogueFacts(
            roots=sorted(self._roots)[:TOP_ROOTS],
            n_roots=len(self._roots),
            n_tracks=sums["tracks"],
            n_ok=n_ok,
            n_failed=sums["tracks"] - n_ok,
            n_duplicate_files=sums["locations"] - sums["tracks"],
            n_bytes=sums["bytes"],
            audio_s=self._audio_s,
            labels=labels[:TOP_NAMES],
            n_labels=sum(label.name is not None and label.n_tracks > 0 for label in labels),
            containers=most_frequent(self._counts["container"], n_ok),
            codecs=most_frequent(self._counts["codec"], n_ok),
            sample_rates=rates,
            channels=most_frequent(self._counts["n_channels"], n_ok),
            warnings=most_frequent(self._counts["warnings"], n_ok),
            durations_s=self._durations_s.all(),
            levels_db=self._levels_db.all(),
        )

    def _label_counts(self) -> list[LabelCount]:
        """Give tracks per label and predictions per genre: largest first, "no label" last."""
        counts = [
            LabelCount(name, of.n_tracks, of.n_predicted, of.audio_s)
            for name, of in self._labelled.items()
        ]
        return sorted(
            counts,
            key=lambda one: (one.name is None, -one.n_tracks, -one.n_predicted, one.name or ""),
        )


@dataclass(slots=True)
class _OfLabel:
    n_tracks: int = 0
    n_predicted: int = 0
    audio_s: float = 0.0


class _Floats:
    """Gathers numbers: eight bytes for each."""

    def __init__(self) -> None:
        self._parts = [np.empty(0)]

    def add(self, column: pa.ChunkedArray) -> None:
        self._parts.append(np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64))

    def all(self) -> NDArray[np.float64]:
        return np.concatenate(self._parts)


def most_frequent(counts: Counter[str], of: int) -> list[Count]:
    """List the most frequent values, most frequent first; shares are of `of`."""
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [Count(name, count, count / max(1, of)) for name, count in ordered[:TOP_NAMES]]
