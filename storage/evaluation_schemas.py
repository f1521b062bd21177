"""One Arrow schema per table of an evaluation, with the meaning of each column in its metadata.

Public: `RETRIEVAL`, `RECOGNITION`, `COMPARISONS`, `TABLES`.
"""

import pyarrow as pa


def _field(name: str, kind: pa.DataType, meaning: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": meaning})


def _score(name: str, meaning: str) -> pa.Field:
    return _field(name, pa.float64(), meaning, nullable=True)


_BITS = _field("n_bits", pa.int32(), "code length; empty for real-valued vectors", nullable=True)
_SEED = _field("seed", pa.int32(), "of weights, crops and random draws")

RETRIEVAL = pa.schema(
    [
        _field("method", pa.string(), "key of the method"),
        _field("name", pa.string(), "as tables print it"),
        _field("source", pa.string(), "authors, venue and year, or what it is a control for"),
        _field("is_supervised", pa.bool_(), "whether it saw labels"),
        _BITS,
        _field("database", pa.string(), "held (primary), train (secondary), unseen, unseen-all"),
        _SEED,
        _field("n_queries", pa.int64(), "queries"),
        _field("n_answered", pa.int64(), "queries with something to find outside their group"),
        _field("n_items", pa.int64(), "tracks in the database"),
        _score("chance", "mean share of relevant tracks: what a random order gives"),
        _score("map", "tie-aware mean average precision, Hamming (REAL: cosine)"),
        _score("map_at_100", "tie-aware mAP of the first 100, divided by min(R, 100)"),
        _score("precision_at_10", "tie-aware precision of the first 10"),
        _score("precision_at_100", "of the first 100; empty for databases that are smaller"),
        _score("precision_at_500", "of the first 500; empty for databases that are smaller"),
        _score("radius_2_precision", "in the ball of radius 2, empty balls as 0"),
        _score("radius_2_recall", "in the ball of radius 2"),
        _score("radius_2_empty_share", "share of queries with an empty ball"),
        _score("asymmetric_map", "mAP of real-valued queries on binary codes"),
        _score("asymmetric_map_at_100", "likewise, of the first 100"),
        _score("knn_accuracy", "vote of the ten nearest, ties shared"),
        _score("n_distinct_codes", "codes in the database"),
        _score("largest_bucket_share", "share of tracks with the most frequent code"),
        _score("mean_bit_bias", "mean distance of a bit's share of ones from one half"),
        _score("mean_bit_correlation", "mean absolute correlation of two bits"),
    ]
)
"""One row per method, length, database and seed."""

RECOGNITION = pa.schema(
    [
        _field("method", pa.string(), "key of the recogniser or of its input"),
        _field("name", pa.string(), "as tables print it"),
        _SEED,
        _field("n_tracks", pa.int64(), "held-out tracks of seen genres: database and queries"),
        _field(
            "n_parameters", pa.int64(), "weights that are trained; empty for forests", nullable=True
        ),
        _score("accuracy", "share of tracks given their own genre"),
        _score("macro_recall", "every genre weighs the same"),
        _score("macro_recall_without_classical", "the same without the genre classical, if any"),
        _score("macro_f1", "every genre weighs the same"),
        _score("chance", "share of the most frequent genre"),
    ]
)
"""One row per recogniser (or input channels) and seed."""

COMPARISONS = pa.schema(
    [
        _field("task", pa.string(), "retrieval or recognition"),
        _field("method", pa.string(), "first method"),
        _field("against", pa.string(), "second method"),
        _field("reference", pa.string(), "why it is the second: crnnh, best-baseline, control"),
        _BITS,
        _field("database", pa.string(), "where they were compared"),
        _score("difference", "mean score of the first minus that of the second"),
        _score("low", "lower end of the 95 % interval over draws of groups"),
        _score("high", "upper end"),
        _score("p_value", "twice the smaller share of draws on one side of zero"),
        _field("n_queries", pa.int64(), "queries or tracks compared"),
        _field("n_groups", pa.int64(), "their groups, which are what is drawn"),
    ]
)
"""One row per pair of methods that was compared; scores averaged over seeds first."""

TABLES: dict[str, pa.Schema] = {
    "retrieval": RETRIEVAL,
    "recognition": RECOGNITION,
    "comparisons": COMPARISONS,
}
