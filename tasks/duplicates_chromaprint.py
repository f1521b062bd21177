"""A second opinion on near-duplicates: the fingerprints of Chromaprint, made of the files again.

Chromaprint (the library behind AcoustID) hears chroma instead of bands, and knows nothing of our
features. Of each track the first two minutes are decoded, as its own tools do. Its words are 32
bits every eighth of a second; copies differ in 0 to 8 % of them at the best offset, other
recordings in 37 to 49 %. It raises no tier; where it contradicts one clearly, the pair is for a
person to hear.

Public: `check_chromaprint`, `add_chromaprint`, `heed_chromaprint`, `count_compared`,
`best_error`, `CONTRADICTING_ERROR`, `ChromaprintMissingError`.
"""

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from musichash_core.config import PipelineConfig
from musichash_core.decode import open_beneath
from musichash_core.errors import DecodeError, MusicHashError
from storage.layout import StoreLayout
from storage.published import read_table
from storage.snapshots import Snapshot
from tasks.resources import decoder_box

COLUMN = "chromaprint_error"
CHECKED_TIERS = ("same-recording", "likely-same")

FINGERPRINTED_S = 120.0
"""Of each track, from its beginning."""

SR_HZ = 11_025
"""What Chromaprint itself resamples to."""

SHORTEST_WORDS = 16
"""Two seconds: what is shorter is not compared."""

OVERLAP_SHARE = 0.5
"""Of the shorter track, this is compared at least: short overlaps fit by chance."""

CONTRADICTING_ERROR = 0.35
"""From here on it hears two recordings."""

CONTRADICTION = "Chromaprint disagrees"

Words = NDArray[np.uint32]


class ChromaprintMissingError(MusicHashError):
    """The package or the library is not installed."""

    is_wrong_input = True


def check_chromaprint() -> Any:  # noqa: ANN401 - a module without types
    """Load the library, and give its module.

    Raises
    ------
    ChromaprintMissingError
        If the package or the library is not installed.
    """
    try:
        return importlib.import_module("chromaprint")
    except ModuleNotFoundError as error:
        raise ChromaprintMissingError(
            "--chromaprint needs the package pyacoustid, which is not installed; install it with: "
            "pip install 'musichash[chromaprint]'"
        ) from error
    except (ImportError, OSError) as error:
        raise ChromaprintMissingError(
            f"--chromaprint needs the library libchromaprint ({error}); install it with your "
            "system's packages, on Debian or Ubuntu: apt-get install libchromaprint1"
        ) from error


def add_chromaprint(
    layout: StoreLayout,
    snapshot: Snapshot,
    pairs: pa.Table,
    config: PipelineConfig,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> pa.Table:
    """Compare the pairs of `CHECKED_TIERS` by Chromaprint, where that is not known of them yet.

    Parameters
    ----------
    pairs : pyarrow.Table
        `storage.duplicate_pairs.PAIRS`.
    config : PipelineConfig
        Its limits of decoding hold.

    Returns
    -------
    pyarrow.Table
        The pairs, with ``chromaprint_error``: missing still where a file is gone or cannot be
        decoded, or less than half of the shorter track lies in the first two minutes of both.

    Raises
    ------
    ChromaprintMissingError
        If the package or the library is not installed.
    """
    is_listed = pc.is_in(pairs["tier"], value_set=pa.array(CHECKED_TIERS))
    is_asked = pc.and_(is_listed, pc.is_null(pairs[COLUMN])).to_numpy()
    places = np.flatnonzero(is_asked)
    asked = pairs.take(pa.array(places)).select(["first_id", "second_id"]).to_pylist()
    names = sorted({track_id for pair in asked for track_id in pair.values()})
    words = _fingerprints(_locations(layout, snapshot, names), config, on_progress)
    errors = pairs[COLUMN].to_pylist()
    for place, pair in zip(places.tolist(), asked, strict=True):
        errors[place] = best_error(words[pair["first_id"]], words[pair["second_id"]])
    column = pairs.schema.get_field_index(COLUMN)
    return pairs.set_column(column, pairs.schema.field(column), pa.array(errors, pa.float32()))


def heed_chromaprint(pairs: pa.Table) -> pa.Table:
    """Take pairs that Chromaprint clearly contradicts out of the tier same-recording.

    They are likely-same then, for a person to hear, and their reason says why.
    """
    contradicts = pc.and_(
        pc.equal(pairs["tier"], "same-recording"),
        pc.fill_null(pc.greater_equal(pairs[COLUMN], CONTRADICTING_ERROR), False),
    )
    changed = pc.binary_join_element_wise(pairs["reason"], CONTRADICTION, ", but ")
    for name, values in (("tier", "likely-same"), ("reason", changed)):
        column = pairs.schema.get_field_index(name)
        chosen = pc.if_else(contradicts, values, pairs[name])
        pairs = pairs.set_column(column, pairs.schema.field(column), chosen)
    return pairs


def count_compared(pairs: pa.Table) -> dict[str, int]:
    """Count the pairs that Chromaprint compared, could not compare, and contradicts."""
    asked = pairs.filter(pc.is_in(pairs["tier"], value_set=pa.array(CHECKED_TIERS)))
    n_compared = len(asked) - asked[COLUMN].null_count
    same = asked.filter(pc.equal(asked["tier"], "same-recording"))
    contradicted = same.filter(pc.greater_equal(same[COLUMN], CONTRADICTING_ERROR))
    return {
        "chromaprint_compared": n_compared,
        "chromaprint_not_compared": len(asked) - n_compared,
        "chromaprint_contradicts": len(contradicted),
    }


def best_error(first: Words | None, second: Words | None) -> float | None:
    """Give the least share of differing bits over all offsets; None where too little overlaps.

    Parameters
    ----------
    first, second : (n,) uint32 or None
        Chromaprint's words.
    """
    if first is None or second is None or min(len(first), len(second)) < SHORTEST_WORDS:
        return None
    least = max(SHORTEST_WORDS, round(OVERLAP_SHARE * min(len(first), len(second))))
    best = 1.0
    for offset in range(least - len(first), len(second) - least + 1):
        begin, end = max(0, -offset), min(len(first), len(second) - offset)
        wrong = np.bitwise_count(first[begin:end] ^ second[begin + offset : end + offset])
        best = min(best, float(wrong.sum()) / (32 * (end - begin)))
    return best


def _locations(layout: StoreLayout, snapshot: Snapshot, names: list[str]) -> dict[str, list[str]]:
    table = read_table(layout, snapshot, "tracks", columns=["track_id", "locations"])
    rows = table.filter(pc.is_in(table["track_id"], value_set=pa.array(names, pa.string())))
    return dict(zip(rows["track_id"].to_pylist(), rows["locations"].to_pylist(), strict=True))


def _fingerprints(
    locations: dict[str, list[str]],
    config: PipelineConfig,
    on_progress: Callable[[int, int], None] | None,
) -> dict[str, Words | None]:
    """Fingerprint each track, from the first of its places that can be read."""
    chromaprint = check_chromaprint()
    found: dict[str, Words | None] = {}
    for track_id, places in locations.items():
        found[track_id] = None
        for place in places:
            try:
                found[track_id] = _fingerprint(chromaprint, place, config)
            except (DecodeError, OSError):
                continue
            break
        if on_progress is not None:
            on_progress(len(found), len(locations))
    return found


def _fingerprint(chromaprint: Any, path: str, config: PipelineConfig) -> Words:  # noqa: ANN401
    resolved = Path(path).resolve()
    maker = chromaprint.Fingerprinter()
    maker.start(SR_HZ, 1)
    n_left = round(FINGERPRINTED_S * SR_HZ)
    descriptor = open_beneath(str(resolved.parent), os.fsencode(resolved.name))
    with decoder_box(config.decode).open(descriptor) as stream:
        for y in stream.resampled(SR_HZ):
            some = np.clip(np.rint(32_767.0 * y[:n_left]), -32_768, 32_767)
            maker.feed(some.astype(np.int16).tobytes())
            n_left -= len(some)
            if n_left == 0:
                break
    words, _ = chromaprint.decode_fingerprint(maker.finish())
    return np.array(words, np.uint32)
