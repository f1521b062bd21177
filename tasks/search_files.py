"""An audio file to search by: decoded, described and encoded as the tracks of the store were.

Public: `encode_file`, `extract_file`, `query_of_file`, `QueryFile`, `ExtractedFile`,
`QueryFileError`.
"""

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from musichash_core.config import PipelineConfig
from musichash_core.decode import open_beneath
from musichash_core.descriptors import describe_track
from musichash_core.errors import DecodeError
from musichash_core.failure_codes import FAILURE_CODES
from musichash_core.features import FeatureExtractor
from musichash_core.segment_codes import WindowCodes, encode_windows
from musichash_core.segments import TrackFrames
from tasks.both_feature_sets import samples_and_tagger_frames
from tasks.resources import decoder_box, loaded_models, tagging_network

if TYPE_CHECKING:  # importing it loads torch, which a message about a missing file does not need
    from musichash_core.inference import EncodedTrack

_ONE_AT_A_TIME = threading.Lock()
"""The networks of a process are for one thread."""


class QueryFileError(DecodeError):
    """The audio file to search by cannot be used."""

    is_wrong_input = True


@dataclass(frozen=True, slots=True)
class ExtractedFile:
    """An audio file's features, and what it says of itself.

    Attributes
    ----------
    track : TrackFrames
    tagger_frames : (n_tagger_frames, 96) uint8
        None of them where ``config.features.tagger_mel`` is off.
    duration_s : float
        Decoded length, seconds.
    tags : dict
        ``tag_title``, ``tag_artist``, ``tag_album``, ``tag_genre``, ``tag_year``; None where the
        file says nothing.
    """

    track: TrackFrames
    tagger_frames: NDArray[np.uint8]
    duration_s: float
    tags: dict[str, Any]


@dataclass(frozen=True, slots=True)
class QueryFile:
    """An encoded audio file.

    Attributes
    ----------
    encoded : EncodedTrack
    facts : dict
        What the tables would say of it: its place, duration, tags, genre and probabilities.
    windows : WindowCodes
        Codes of its windows of ten seconds.
    """

    encoded: "EncodedTrack"
    facts: dict[str, Any]
    windows: WindowCodes


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
    return query_of_file(store, path, config, generation=generation).encoded


def query_of_file(store: str, path: str, config: PipelineConfig, *, generation: str) -> QueryFile:
    """Encode an audio file, and say of it what the tables say of a track; as `encode_file`."""
    with _ONE_AT_A_TIME:
        # First, because a file that cannot be used is told sooner than torch is loaded.
        extracted = extract_file(path, config)
        from musichash_core.inference import MusicModels, encode_track

        models = loaded_models(store, generation, config.feature_fingerprint)
        if isinstance(models, MusicModels):
            encoded = encode_track(models, extracted.track)
        else:
            from musichash_core.descriptor_models import encode_description

            described = describe_track(tagging_network(), extracted.track, extracted.tagger_frames)
            encoded = encode_description(models, described)
    probabilities = list(zip(models.genres, encoded.probabilities.tolist(), strict=True))
    genre, probability = probabilities[encoded.genre]
    facts = {
        "track_id": None,
        "locations": [str(Path(path).absolute())],
        "label": None,
        "external_id": None,
        "duration_s": extracted.duration_s,
        **extracted.tags,
        "genre": genre,
        "probability": probability,
        "probabilities": probabilities,
    }
    windows = encode_windows(
        extracted.track,
        models.config.windows,
        n_bits=len(encoded.hash_logits),
        frames_per_s=len(extracted.track.frames) / extracted.duration_s,
    )
    return QueryFile(encoded, facts, windows)


def extract_file(path: str, config: PipelineConfig) -> ExtractedFile:
    """Decode a file once and compute its features in memory; raises QueryFileError."""
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
    return ExtractedFile(
        TrackFrames(str(resolved), frames, extractor.peak),
        np.concatenate(tagger_pieces),
        stream.n_frames / stream.info.sr,
        {
            "tag_title": stream.tags.title,
            "tag_artist": stream.tags.artist,
            "tag_album": stream.tags.album,
            "tag_genre": stream.tags.genre,
            "tag_year": stream.tags.year,
        },
    )
