"""The folder of an evaluation: finished rows that a later run need not make again, and its tables.

``rows/<fingerprint>/<name>.json`` is one finished unit of work with its scores per query;
``retrieval.parquet``, ``recognition.parquet`` and ``comparisons.parquet`` (and one ``tables.json``
with the same rows) are what people read. The fingerprint covers everything that changes a digit,
so rows of other settings are never taken for these.

Public: `EvaluationFolder`, `OwnCacheLayout`, `read_published_sides`, `EVALUATION_FORMAT`.
"""

import io
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musichash_core.musicnn.log_mel import N_MELS
from musichash_core.segments import TrackFrames
from storage.atomic import (
    LEFTOVER_PREFIX,
    make_folder,
    place_file,
    read_json,
    write_file,
    write_json,
)
from storage.errors import ArtefactMissingError, ManifestError, StoreError
from storage.evaluation_schemas import TABLES
from storage.feature_store import FeaturePartition
from storage.layout import StoreLayout
from storage.row_columns import Column, RowFile
from storage.row_files import read_rows
from storage.tables import write_rows

EVALUATION_FORMAT = 2
"""Version of rows and tables; part of the fingerprint."""

MAX_TAGGER_FRAMES = 11_888
"""As long as `storage.training_cache.MAX_TRACK_FRAMES` frames are: 190 s."""


SPLIT_FILE = RowFile(
    kind="split file",
    option="--split-file",
    error=ManifestError,
    columns=(
        Column(("path", "track path"), is_required=True),
        Column(("split",), is_required=True),
    ),
)


def read_published_sides(path: Path) -> dict[str, str]:
    """Read a data set's own split: path below the catalogue -> name of the side.

    Raises
    ------
    ManifestError
        If the file cannot be read, lacks a column or names a track twice.
    """
    sides: dict[str, str] = {}
    for place, (name, side) in read_rows(path, SPLIT_FILE).rows:
        if name in sides:
            raise ManifestError(f"{path}, {place}: {name!r} is there twice; keep one row of it")
        sides[name or ""] = side or ""
    return sides


@dataclass(frozen=True, slots=True)
class OwnCacheLayout(StoreLayout):
    """A store that is only read: frames are unpacked elsewhere, so that a run can go on beside.

    Attributes
    ----------
    cache_path : Path
        The file to unpack into.
    """

    cache_path: Path

    @property
    def training_cache_path(self) -> Path:
        """Raw frames of the labelled tracks while they are evaluated."""
        return self.cache_path


@dataclass(frozen=True, slots=True)
class EvaluationFolder:
    """Where an evaluation keeps what it found.

    Attributes
    ----------
    root : Path
        The folder.
    fingerprint : str
        Of the tracks, their sides and the settings.
    """

    root: Path
    fingerprint: str

    @property
    def page_path(self) -> Path:
        """The HTML page."""
        return self.root / "evaluation.html"

    def reading(self, layout: StoreLayout) -> OwnCacheLayout:
        """Give the store's layout with a cache of frames in this folder, of this run alone."""
        name = f"{LEFTOVER_PREFIX}frames-{secrets.token_hex(4)}.u8"
        return OwnCacheLayout(layout.root, self.root / name)

    @contextmanager
    def tagger_tracks(
        self,
        layout: StoreLayout,
        feature_fingerprint: str,
        wanted: Mapping[str, Sequence[str]],
    ) -> Iterator[dict[str, TrackFrames]]:
        """Give some tracks' tagger frames by track id, as memory maps, for as long as needed.

        They are tracks of one channel, for `musichash_core.pretrained_encoder`, at the level they
        came with.

        Of long tracks it is the middle, as `storage.training_cache.training_tracks` gives it.

        Parameters
        ----------
        wanted : mapping
            Partition id -> the ids of its tracks to give.

        Raises
        ------
        ArtefactMissingError
            The store holds none.
        """
        path = self.root / f"{LEFTOVER_PREFIX}tagger-{secrets.token_hex(4)}.u8"
        places: dict[str, tuple[int, int]] = {}
        offset = 0
        try:
            with path.open("wb") as file:
                for partition_id in sorted(wanted):
                    folder = layout.feature_partition_path(feature_fingerprint, partition_id)
                    ids = set(wanted[partition_id])
                    for stored, source in FeaturePartition(folder).tagger_frames():
                        if stored.track_id not in ids:
                            continue
                        start = max(0, (len(source) - MAX_TAGGER_FRAMES) // 2)
                        frames = np.ascontiguousarray(source[start : start + MAX_TAGGER_FRAMES])
                        file.write(frames.data)
                        places[stored.track_id] = offset, len(frames)
                        offset += frames.nbytes
            everything = np.memmap(path, dtype=np.uint8, mode="r") if offset else np.empty(0, "u1")
            shape = (-1, 1, N_MELS)
            yield {
                track_id: TrackFrames(
                    track_id, everything[at : at + n_frames * N_MELS].reshape(shape), peak=1.0
                )
                for track_id, (at, n_frames) in places.items()
            }
        finally:
            path.unlink(missing_ok=True)

    def finished_row(self, name: str) -> dict[str, Any] | None:
        """Read a unit of work that is done; None when it is still to do."""
        try:
            return read_json(self._row_path(name))
        except ArtefactMissingError:
            return None

    def has_row(self, name: str) -> bool:
        """Say whether a unit of work is done."""
        return self._row_path(name).is_file()

    def keep_row(self, name: str, content: Mapping[str, Any]) -> None:
        """Keep a finished unit of work."""
        try:
            write_json(self._row_path(name), content)
        except OSError as error:
            raise self._cannot_write(error) from error

    def vectors(self) -> NDArray[np.float32] | None:
        """Read what `keep_vectors` kept; None when there is nothing, or it is damaged."""
        try:
            return np.load(self._vectors_path, allow_pickle=False)  # type: ignore[no-any-return]
        except (FileNotFoundError, ValueError, EOFError):
            return None

    def keep_vectors(self, vectors: NDArray[np.float32]) -> None:
        """Keep the descriptors of the tracks, whose rows are in the order of the tracks."""
        content = io.BytesIO()
        np.save(content, vectors, allow_pickle=False)
        try:
            write_file(self._vectors_path, content.getvalue())
        except OSError as error:
            raise self._cannot_write(error) from error

    def write_tables(
        self, tables: Mapping[str, Sequence[dict[str, Any]]], about: Mapping[str, Any]
    ) -> dict[str, str]:
        """Write each table of `TABLES` as Parquet, and all with their circumstances as JSON.

        Parameters
        ----------
        tables : mapping
            Name -> rows, in their final order.
        about : mapping
            Split, settings and limits.

        Returns
        -------
        dict
            Name -> path of the file.
        """
        written = {}
        try:
            make_folder(self.root)
            for name, schema in TABLES.items():
                temporary = self.root / f"{LEFTOVER_PREFIX}{name}-{secrets.token_hex(4)}"
                final = self.root / f"{name}.parquet"
                write_rows(temporary, tables[name], schema)
                place_file(temporary, final)
                written[name] = str(final)
            write_json(self.root / "tables.json", {**about, **tables})
        except OSError as error:
            raise self._cannot_write(error) from error
        return written | {"json": str(self.root / "tables.json")}

    def write_page(self, page: str) -> None:
        """Write the HTML page."""
        try:
            write_file(self.page_path, page.encode("utf-8"))
        except OSError as error:
            raise self._cannot_write(error) from error

    def make(self) -> None:
        """Make the folder, or say at once that it cannot be; remove what a killed run left in it.

        Frames that another run still reads stay readable: they are mapped by then.
        """
        try:
            make_folder(self.root)
            for path in self.root.glob(f"{LEFTOVER_PREFIX}*"):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise self._cannot_write(error) from error

    @property
    def _vectors_path(self) -> Path:
        return self.root / "rows" / self.fingerprint / "descriptors.npy"

    def _row_path(self, name: str) -> Path:
        return self.root / "rows" / self.fingerprint / f"{name}.json"

    def _cannot_write(self, error: OSError) -> StoreError:
        return StoreError(
            f"the evaluation cannot be written to {self.root}: {error.strerror}; name another "
            "folder with --output"
        )
