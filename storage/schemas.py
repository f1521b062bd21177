"""One Arrow schema per table, with the unit and meaning of each column in its field metadata.

Public: `TRACKS`, `PREDICTIONS`, `codes_schema`, `codes_schema_without_segments`,
`descriptions_schema`, `FAILURES`, `RUNS`, `CATALOGUE`, `TRACK_FACTS`, `PUBLISHED_FACTS`.
"""

import pyarrow as pa


def _field(name: str, kind: pa.DataType, meaning: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": meaning})


_TRACK_ID = _field("track_id", pa.string(), "identity: 128-bit BLAKE2b of the file's bytes, hex")

_EXTERNAL_ID = _field(
    "external_id", pa.string(), "the owner's own identifier, given by the manifest", nullable=True
)

_FACTS = (
    _field("duration_s", pa.float64(), "decoded length, seconds"),
    _field("sr", pa.int32(), "sample rate of the file, Hz"),
    _field("n_channels", pa.int16(), "channels of the file, before the down-mix"),
    _field("container", pa.string(), "container by content"),
    _field("codec", pa.string(), "sample coding, libsndfile's name"),
    _field("peak", pa.float32(), "largest absolute sample of the down-mix, 1 = full scale"),
    _field("rms_db", pa.float32(), "root mean square of the down-mix, dB re full scale"),
    _field("warnings", pa.list_(pa.string()), "what was odd and not fatal while decoding"),
    _field("tag_title", pa.string(), "title, as the file's tags say", nullable=True),
    _field("tag_artist", pa.string(), "artist, as the file's tags say", nullable=True),
    _field("tag_album", pa.string(), "album, as the file's tags say", nullable=True),
    _field("tag_genre", pa.string(), "genre, as the file's tags say", nullable=True),
    _field("tag_year", pa.int16(), "year of release, as the file's tags say", nullable=True),
)

PUBLISHED_FACTS = tuple(field.name for field in _FACTS)
"""Columns of the tracks table that come from the facts that extraction found."""

TRACK_FACTS = pa.schema(
    [
        _TRACK_ID,
        _field("first_frame", pa.int64(), "offset of the track in the partition's frames"),
        _field("n_frames", pa.int64(), "feature frames of the track"),
        *_FACTS,
        _field(
            "first_tagger_frame",
            pa.int64(),
            "offset of the track in the partition's tagger frames; empty where none are kept",
            nullable=True,
        ),
        _field(
            "n_tagger_frames",
            pa.int64(),
            "tagger frames of the track; empty where none are kept",
            nullable=True,
        ),
    ]
)
"""Facts that extraction found; one file per feature partition, in the order of its frames. A
partition without tagger frames has a file without the last two columns."""

TRACKS = pa.schema(
    [
        _TRACK_ID,
        _field("root", pa.string(), "catalogue root of the first location"),
        _field("path", pa.string(), "first location, below its root"),
        _field("locations", pa.list_(pa.string()), "every place with these bytes: root/path"),
        _field(
            "label", pa.string(), "genre or class given by folder or labels file", nullable=True
        ),
        _field("group", pa.string(), "artist or other unit never split", nullable=True),
        _EXTERNAL_ID,
        _field("n_bytes", pa.int64(), "size of the file, bytes"),
        _field("status", pa.string(), "ok, or failed (see the failures table)"),
        *(field.with_nullable(True) for field in _FACTS),
    ]
)
"""One row per track that the catalogue holds, failed ones too."""

PREDICTIONS = pa.schema(
    [
        _TRACK_ID,
        _field("genre", pa.string(), "most probable genre"),
        _field("probability", pa.float32(), "its probability"),
        _field("probabilities", pa.map_(pa.string(), pa.float32()), "probability of every genre"),
        _field("n_segments", pa.int32(), "segments that were averaged"),
        _field("generation", pa.string(), "model generation"),
    ]
)
"""One row per track with features."""


def codes_schema(n_bits: int) -> pa.Schema:
    """Give the schema of the codes table for one code length; one row per track with features."""
    code = pa.binary(n_bits // 8)
    segments = (
        _field(
            "segment_codes",
            pa.list_(pa.field("element", code, nullable=False)),
            "codes of windows, in the order of time, by which excerpts are found; packed like "
            "code, but not comparable with it; none where the model was trained before they were "
            "made, or nothing is heard",
        ),
        _field(
            "segment_starts_s",
            pa.list_(pa.field("element", pa.float32(), nullable=False)),
            "where each of these windows begins, seconds",
        ),
    )
    return pa.schema([*codes_schema_without_segments(n_bits), *segments])


def codes_schema_without_segments(n_bits: int) -> pa.Schema:
    """Give the schema of codes tables that were written before windows had codes."""
    return pa.schema(
        [
            _TRACK_ID,
            _field(
                "code", pa.binary(n_bits // 8), "packed bits; musichash_core.codes says the order"
            ),
            _field(
                "logits",
                pa.list_(pa.float32(), n_bits),
                "mean hash-layer output; its sign is the bit",
            ),
            _field("n_segments", pa.int32(), "segments that were averaged"),
            _field("generation", pa.string(), "model generation"),
        ]
    )


def descriptions_schema(n_descriptors: int, n_tags: int) -> pa.Schema:
    """Give the schema of a partition's descriptions; one row per track and part of it."""
    return pa.schema(
        [
            _TRACK_ID,
            _field("part", pa.int8(), "0 = the whole track, 1 = its first half, 2 = its second"),
            _field(
                "vector",
                pa.list_(pa.float32(), n_descriptors),
                "what the descriptor models read; not standardised",
            ),
            _field(
                "tag_probabilities",
                pa.list_(pa.float32(), n_tags),
                "mean over patches of what the tagging network says of each of its tags",
            ),
            _field("n_patches", pa.int32(), "patches that were looked at"),
        ]
    )


FAILURES = pa.schema(
    [
        _field("track_id", pa.string(), "identity; empty when the file could not be read at all"),
        _field("path", pa.string(), "where the file lies: root/path"),
        _field("stage", pa.string(), "scan or extract"),
        _field("code", pa.string(), "reason, from the closed list in musichash_core.failure_codes"),
        _field("retryable", pa.bool_(), "whether the next run tries again by itself"),
        _field("message", pa.string(), "what was met, the value, what is allowed"),
        _field("attempts", pa.int32(), "runs that tried"),
    ]
)
"""One row per track or file that could not be processed."""

CATALOGUE = pa.schema(
    [
        _TRACK_ID,
        _field("root", pa.string(), "catalogue root"),
        _field("path", pa.string(), "path below it, for people"),
        _field("path_raw", pa.binary(), "path below it, as the file system spells it"),
        _field("n_bytes", pa.int64(), "size, bytes"),
        _field("mtime_ns", pa.int64(), "modification time, nanoseconds"),
        _field("label", pa.string(), "genre or class", nullable=True),
        _field("group", pa.string(), "artist or other unit never split", nullable=True),
        _EXTERNAL_ID,
    ]
)
"""One row per file that the last scan found."""

_TIME = pa.timestamp("ms", tz="UTC")
"""Parquet has no coarser one: columns of seconds would come back as milliseconds."""

RUNS = pa.schema(
    [
        _field("run_id", pa.string(), "identity of the run; sorts by time"),
        _field("started", _TIME, "start"),
        _field(
            "finished",
            _TIME,
            "end; of a run that was killed its last sign of life, or empty",
            nullable=True,
        ),
        _field("state", pa.string(), "running, done, done-with-failures, failed, killed"),
        _field("seen", pa.int64(), "tracks found by the scan, plus those removed since"),
        _field("done", pa.int64(), "tracks extracted by this run"),
        _field("reused", pa.int64(), "tracks extracted by earlier runs"),
        _field("failed", pa.int64(), "tracks that are failure rows"),
        _field("quarantined", pa.int64(), "tracks set aside because they killed a worker"),
        _field("removed", pa.int64(), "tracks that the catalogue no longer has"),
        _field("audio_s", pa.float64(), "audio decoded by this run, seconds"),
        _field("cpu_s", pa.float64(), "CPU time of the workers, seconds"),
        _field("wall_s", pa.float64(), "time by the clock, seconds"),
        _field("peak_memory_bytes", pa.int64(), "largest resident size of a worker"),
        _field("snapshot", pa.int64(), "snapshot that was current at the end", nullable=True),
    ]
)
"""One row per run."""
