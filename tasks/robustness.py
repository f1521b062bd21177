"""How well codes stand what happens to files: coding with loss, a later start, another level.

Some tracks of the published snapshot are decoded, changed in each way of `tasks.sound_versions`,
and encoded as a file to search by is. Two things count: how many bits change, and whether the
version still finds its track before all others.

Public: `measure_robustness`, `MAX_TRACK_S`.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musichash_core.codes import logits_to_codes
from musichash_core.config import PipelineConfig
from musichash_core.decode import open_beneath
from musichash_core.errors import DecodeError, MusicHashError, ParameterError
from musichash_core.evaluation.robustness import compare_versions
from storage.indexes import HashIndex, rank
from storage.layout import StoreLayout
from storage.packed_codes import packed_codes
from storage.published import read_table, require_snapshot
from storage.robustness_figures import write_robustness
from storage.snapshots import Snapshot
from storage.store import open_store
from tasks.resources import decoder_box
from tasks.search_files import QueryFileError, encode_file
from tasks.sound_versions import SR_HZ, UNCHANGED, VERSIONS, SoundVersion, write_version

MAX_TRACK_S = 300.0
"""Longer tracks are represented by their beginning: 53 MB of samples at most."""

HIGH_PERCENTILE = 95


class NothingMeasuredError(MusicHashError):
    """No track of the sample could be decoded."""

    is_wrong_input = True


def measure_robustness(
    store: str,
    config: PipelineConfig,
    *,
    n_tracks: int = 50,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure on evenly chosen tracks of the published snapshot; keep the figures for the report.

    Parameters
    ----------
    n_tracks : >= 1
        Tracks to measure on, evenly spaced in the order of their ids; all, where there are fewer.
    on_progress : callable, optional
        Told after each track how many of how many are done.

    Returns
    -------
    dict
        JSON: ``snapshot``, ``generation``, ``n_bits``, ``n_codes``, ``n_tracks``, ``left_out``
        (``path`` and ``reason`` of tracks that could not be decoded) and ``rows``, one per version:
        ``version``, ``compared_with`` ("published" code or that of the "unchanged" sound),
        ``n_tracks``, ``mean_changed_share`` and ``p95_changed_share`` of the bits, and
        ``found_first_share`` of the versions that find their track before all others.

    Raises
    ------
    ParameterError
        If `n_tracks` is below 1.
    ArtefactMissingError
        If the store is none, or has published nothing.
    FingerprintMismatchError
        If the models read other features than the configuration makes.
    NothingMeasuredError
        If no track could be decoded.
    """
    if n_tracks < 1:
        raise ParameterError(f"n_tracks={n_tracks}: measure on at least 1 track")
    layout = open_store(store)
    published = _Codes(layout, require_snapshot(layout))
    rows = published.evenly_chosen(n_tracks)
    outcomes: dict[str, list[_Outcome]] = {one.name: [] for one in (UNCHANGED, *VERSIONS)}
    left_out: list[dict[str, str]] = []
    for n_done, row in enumerate(rows.tolist(), 1):
        path = published.path(row)
        try:
            y = _decode(path, config)
        except (DecodeError, OSError) as error:
            left_out.append({"path": path, "reason": str(error)})
        else:
            with tempfile.TemporaryDirectory(prefix="musichash-versions-") as folder:
                encode = _Encoder(store, config, published, Path(folder))
                for name, outcome in encode.versions(row, y):
                    outcomes[name].append(outcome)
        if on_progress is not None:
            on_progress(n_done, len(rows))
    if len(left_out) == len(rows):
        raise NothingMeasuredError(
            f"none of {len(rows)} published tracks could be decoded, {left_out[0]['path']!r} "
            f"because: {left_out[0]['reason']}"
            if left_out
            else f"the snapshot {published.snapshot.number} of {store} has no codes"
        )
    figures = {
        "snapshot": published.snapshot.number,
        "generation": published.snapshot.generation,
        "n_bits": 8 * published.packed.shape[1],
        "n_codes": len(published.packed),
        "n_tracks": len(rows) - len(left_out),
        "left_out": left_out,
        "rows": [_row(name, some) for name, some in outcomes.items() if some],
    }
    write_robustness(layout, figures)
    return figures


class _Codes:
    """The published codes, and where their tracks lie."""

    def __init__(self, layout: StoreLayout, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        codes = read_table(layout, snapshot, "codes")
        tracks = read_table(layout, snapshot, "tracks").select(["track_id", "locations"])
        self.packed = packed_codes(codes)
        self._ids = codes["track_id"].to_pylist()
        self._index = HashIndex.load(layout, snapshot)
        self._locations = dict(
            zip(tracks["track_id"].to_pylist(), tracks["locations"].to_pylist(), strict=True)
        )

    def evenly_chosen(self, n_tracks: int) -> NDArray[np.int64]:
        n_codes = len(self._ids)
        if not n_codes:
            return np.empty(0, dtype=np.int64)
        return np.unique(np.linspace(0, n_codes - 1, min(n_tracks, n_codes)).astype(np.int64))

    def path(self, row: int) -> str:
        return str(self._locations[self._ids[row]][0])

    def nearest_row(self, logits: NDArray[np.float32]) -> int:
        """Give the row that a search ranks first."""
        (candidates,) = self._index.candidates(logits_to_codes(logits)[None], 1)
        return int(rank(candidates, logits, self.packed[candidates.rows], 1).rows[0])


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The code of one version, what it is compared with, and whether it finds its track."""

    code: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    is_found_first: bool


class _Encoder:
    """Encodes versions of tracks as files to search by are encoded."""

    def __init__(self, store: str, config: PipelineConfig, published: _Codes, folder: Path) -> None:
        self._store = store
        self._config = config
        self._published = published
        self._folder = folder

    def versions(self, row: int, y: NDArray[np.float32]) -> list[tuple[str, _Outcome]]:
        """Make, encode and search by every version of a track that there is enough of."""
        unchanged = self._outcome(UNCHANGED, row, y, self._published.packed[row])
        if unchanged is None:
            return []
        found = [(UNCHANGED.name, unchanged)]
        for version in VERSIONS:
            outcome = self._outcome(version, row, y, unchanged.code)
            if outcome is not None:
                found.append((version.name, outcome))
        return found

    def _outcome(
        self,
        version: SoundVersion,
        row: int,
        y: NDArray[np.float32],
        reference: NDArray[np.uint8],
    ) -> _Outcome | None:
        path = write_version(version, y, self._folder)
        if path is None:
            return None
        try:
            logits = encode_file(
                self._store,
                str(path),
                self._config,
                generation=self._published.snapshot.generation,
            ).hash_logits
        except QueryFileError:  # shorter than the configuration allows
            return None
        finally:
            path.unlink()
        is_found_first = self._published.nearest_row(logits) == row
        return _Outcome(logits_to_codes(logits), reference, is_found_first)


def _decode(path: str, config: PipelineConfig) -> NDArray[np.float32]:
    """Decode a track, at most `MAX_TRACK_S` of it, to mono samples at `SR_HZ`."""
    resolved = Path(path).resolve()
    pieces: list[NDArray[np.float32]] = []
    n_left = round(MAX_TRACK_S * SR_HZ)
    descriptor = open_beneath(str(resolved.parent), os.fsencode(resolved.name))
    with decoder_box(config.decode).open(descriptor) as stream:
        for y in stream.resampled(SR_HZ):
            pieces.append(y[:n_left].copy())
            n_left -= len(pieces[-1])
            if n_left == 0:
                break
    return np.concatenate(pieces)


def _row(name: str, outcomes: list[_Outcome]) -> dict[str, Any]:
    change = compare_versions(
        np.stack([one.code for one in outcomes]), np.stack([one.reference for one in outcomes])
    )
    shares = change.share_of_bits
    return {
        "version": name,
        "compared_with": "published" if name == UNCHANGED.name else UNCHANGED.name,
        "n_tracks": len(outcomes),
        "mean_changed_share": float(shares.mean()),
        "p95_changed_share": float(np.percentile(shares, HIGH_PERCENTILE)),
        "found_first_share": float(np.mean([one.is_found_first for one in outcomes])),
    }
