"""Find similar tracks: by a track of the catalogue, or by any audio file.

Public: `search_track`, `search_file`, `encode_file`, `Answer`, `Match`.
"""

import difflib
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from musichash_core.codes import logits_to_codes
from musichash_core.config import PipelineConfig
from musichash_core.decode import open_beneath
from musichash_core.descriptors import describe_track
from musichash_core.errors import DecodeError, MusicHashError, ParameterError
from musichash_core.failure_codes import FAILURE_CODES
from musichash_core.features import FeatureExtractor
from musichash_core.segments import TrackFrames
from storage.hash_index import HashIndex, rank
from storage.layout import StoreLayout
from storage.live_tables import packed_codes
from storage.published import read_table, require_snapshot, snapshot_entry
from storage.snapshots import Snapshot
from storage.store import open_store
from tasks.both_feature_sets import samples_and_tagger_frames
from tasks.resources import decoder_box, loaded_models, tagging_network

if TYPE_CHECKING:  # importing it loads torch, which searching by track does not need
    from musichash_core.inference import EncodedTrack

MAX_K = 10_000
SHORTEST_ID_PREFIX = 6
NAMED_EXAMPLES = 3


class UnknownTrackError(MusicHashError, KeyError):
    """A track is named that the published snapshot does not have."""

    is_wrong_input = True

    def __str__(self) -> str:
        return str(self.args[0])


class QueryFileError(DecodeError):
    """The audio file to search by cannot be used."""

    is_wrong_input = True


@dataclass(frozen=True, slots=True)
class Match:
    """One ranked answer.

    Attributes
    ----------
    rank : int
        From 1.
    track_id : str
        Identity.
    distance : int
        Hamming distance, bits.
    genre : str
        Predicted genre.
    probability : float
        Its probability.
    label : str or None
        Given label.
    path : str
        First location, with its catalogue root.
    """

    rank: int
    track_id: str
    distance: int
    genre: str
    probability: float
    label: str | None
    path: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search found.

    Attributes
    ----------
    query : str
        The track or file asked for.
    snapshot : int
        Snapshot that was searched.
    n_codes, n_bits : int
        Size of the index.
    matches : tuple of Match
        Best first.
    """

    query: str
    snapshot: int
    n_codes: int
    n_bits: int
    matches: tuple[Match, ...]

    def as_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return asdict(self)


class _Published:
    """The current snapshot, loaded for searching."""

    def __init__(self, store: str) -> None:
        self.layout: StoreLayout = open_store(store)
        self.snapshot: Snapshot = require_snapshot(self.layout)
        self.index = HashIndex.load(self.layout, snapshot_entry(self.snapshot, self.snapshot.index))
        self.codes: pa.Table = read_table(self.layout, self.snapshot, "codes")
        self.packed = packed_codes(self.codes)
        self.tracks: pa.Table = read_table(self.layout, self.snapshot, "tracks")

    def logits(self, row: int) -> NDArray[np.float32]:
        return np.asarray(self.codes["logits"][row].as_py(), dtype=np.float32)

    def nearest(
        self, logits: NDArray[np.float32], k: int, *, without: int | None = None
    ) -> list[tuple[int, int]]:
        """Give (row, distance) of the `k` nearest codes, leaving one row out."""
        code = logits_to_codes(logits)
        candidates = self.index.candidates(code, k + (without is not None))
        ranked = rank(candidates, logits, self.packed[candidates.rows], len(candidates.rows))
        pairs = zip(ranked.rows.tolist(), ranked.distances.tolist(), strict=True)
        return [(row, distance) for row, distance in pairs if row != without][:k]

    def answer(self, query: str, found: list[tuple[int, int]]) -> Answer:
        ids = [self.codes["track_id"][row].as_py() for row, _ in found]
        tracks = _rows_by_id(self.tracks, ids)
        predictions = _rows_by_id(read_table(self.layout, self.snapshot, "predictions"), ids)
        matches = [
            Match(
                rank=position,
                track_id=track_id,
                distance=distance,
                genre=predictions[track_id]["genre"],
                probability=round(predictions[track_id]["probability"], 4),
                label=tracks[track_id]["label"],
                path=tracks[track_id]["locations"][0],
            )
            for position, (track_id, (_, distance)) in enumerate(zip(ids, found, strict=True), 1)
        ]
        return Answer(
            query, self.snapshot.number, self.index.n_codes, self.index.n_bits, tuple(matches)
        )


def _check_k(k: int) -> None:
    if not 1 <= k <= MAX_K:
        raise ParameterError(f"k={k}: ask for 1 to {MAX_K} neighbours with -k")


def _rows_by_id(table: pa.Table, track_ids: list[str]) -> dict[str, dict[str, Any]]:
    kept = table.filter(pc.is_in(table["track_id"], value_set=pa.array(track_ids, pa.string())))
    return {row["track_id"]: row for row in kept.to_pylist()}


def search_track(store: str, name: str, *, k: int = 10) -> Answer:
    """Find the tracks most similar to one of the catalogue; that track itself is left out.

    Parameters
    ----------
    name : str
        Track id, the beginning of one, or a path (with or without the catalogue root).
    k : int
        Number of answers.

    Raises
    ------
    UnknownTrackError
        If no published track has this id or path, or several have it.
    ArtefactMissingError
        If the store is none, or has published nothing.
    """
    _check_k(k)
    published = _Published(store)
    track_id = _resolve(published.tracks, name)
    row = pc.index(published.codes["track_id"], track_id).as_py()
    if row < 0:
        raise UnknownTrackError(
            f"the track {name!r} has no code because it failed; see 'musichash failures'"
        )
    found = published.nearest(published.logits(row), k, without=row)
    return published.answer(name, found)


def _resolve(tracks: pa.Table, name: str) -> str:
    ids = tracks["track_id"].to_pylist()
    by_path = _ids_by_path(tracks)
    named = by_path.get(name) or by_path.get(str(Path(name).absolute())) or set()
    if not named and len(name) >= SHORTEST_ID_PREFIX:
        named = {track_id for track_id in ids if track_id.startswith(name)}
    if len(named) == 1:
        return min(named)
    if named:
        raise UnknownTrackError(
            f"{len(named)} published tracks have the id or path {name!r}; give the whole id or the "
            f"path with its catalogue root: {', '.join(sorted(named)[:NAMED_EXAMPLES])}"
        )
    nearest = difflib.get_close_matches(name, by_path, n=1, cutoff=0.0)
    hint = f"; the nearest path is {nearest[0]!r}" if nearest else ""
    raise UnknownTrackError(
        f"no published track has the id or path {name!r}{hint}; use --file for a file that is not "
        "in the catalogue"
    )


def _ids_by_path(tracks: pa.Table) -> dict[str, set[str]]:
    """Give the tracks by every location, with and without its catalogue root."""
    roots = sorted({f"{root}/" for root in tracks["root"].to_pylist()})
    found: dict[str, set[str]] = {}
    for track_id, places in zip(
        tracks["track_id"].to_pylist(), tracks["locations"].to_pylist(), strict=True
    ):
        for place in places:
            below = [place.removeprefix(root) for root in roots if place.startswith(root)]
            for path in (place, *below):
                found.setdefault(path, set()).add(track_id)
    return found


def search_file(store: str, path: str, config: PipelineConfig, *, k: int = 10) -> Answer:
    """Find the tracks most similar to an audio file, which need not be in the catalogue.

    Raises
    ------
    QueryFileError
        If the file cannot be decoded.
    ArtefactMissingError
        If the store is none, or has published nothing.
    """
    _check_k(k)
    published = _Published(store)
    encoded = encode_file(store, path, config, generation=published.snapshot.generation)
    return published.answer(path, published.nearest(encoded.hash_logits, k))


def encode_file(
    store: str, path: str, config: PipelineConfig, *, generation: str
) -> "EncodedTrack":
    """Compute genre probabilities and hash logits of an audio file with a store's models.

    Raises
    ------
    QueryFileError
        If the file cannot be decoded.
    FingerprintMismatchError
        If the models read other features than the configuration makes.
    """
    from musichash_core.inference import MusicModels, encode_track

    models = loaded_models(store, generation, config.feature_fingerprint)
    track, tagger_frames = extract_file(path, config)
    if isinstance(models, MusicModels):
        return encode_track(models, track)
    from musichash_core.descriptor_models import encode_description

    return encode_description(models, describe_track(tagging_network(), track, tagger_frames))


def extract_file(path: str, config: PipelineConfig) -> tuple[TrackFrames, NDArray[np.uint8]]:
    """Decode a file once and compute its features in memory; raises QueryFileError.

    Returns
    -------
    track : TrackFrames
    tagger_frames : (n_tagger_frames, 96) uint8
        None of them where ``config.features.tagger_mel`` is off.
    """
    resolved = Path(path).resolve()
    if not resolved.exists():
        raise QueryFileError("vanished", f"the file {path} does not exist; check --file")
    extractor = FeatureExtractor(config.features)
    pieces, tagger_pieces = [], []
    try:
        descriptor = open_beneath(str(resolved.parent), os.fsencode(resolved.name))
        with decoder_box(config.decode).open(descriptor) as stream:
            for y, tagger_frames in samples_and_tagger_frames(stream, config.features):
                pieces.append(extractor.push(y))
                tagger_pieces.append(tagger_frames)
    except DecodeError as error:
        remedy = FAILURE_CODES[error.code].remedy
        raise QueryFileError(error.code, f"{path} is {error.code}: {error}. {remedy}") from error
    frames = np.concatenate([*pieces, extractor.finish()])
    return TrackFrames(str(resolved), frames, extractor.peak), np.concatenate(tagger_pieces)
