"""Near-duplicates as people and programs read them: groups with their members, pairs with paths.

Public: `answer_of`, `track_facts`, `check_output`, `write_answer`, `OUTPUT_SUFFIXES`.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from musichash_core.errors import ParameterError
from musichash_core.plain_text import escape_controls_in_json
from musichash_core.recording_match import Copy, Tier, is_lossless, rank_copies
from storage.atomic import place_file, write_file
from storage.duplicate_pairs import PAIRS
from storage.errors import StoreError
from storage.published import read_table
from storage.table_text import csv_pieces
from storage.tables import write_table
from tasks.duplicates import Duplicates

OUTPUT_SUFFIXES = (".parquet", ".csv", ".json")

_FACTS = (
    *("container", "codec", "sr", "n_channels", "duration_s", "n_bytes", "rms_db"),
    *("tag_title", "tag_artist", "tag_album", "tag_year", "external_id"),
)

_ROWS = pa.schema(
    [
        pa.field("group", pa.int64(), metadata={"description": "number of the group, from 1"}),
        *PAIRS,
        pa.field("first_path", pa.string(), metadata={"description": "first place of the first"}),
        pa.field("second_path", pa.string(), metadata={"description": "of the second"}),
    ]
)


def answer_of(found: Duplicates, tiers: Sequence[Tier]) -> dict[str, Any]:
    """Give the JSON form: counts, groups, and the pairs of some tiers with all their evidence.

    Parameters
    ----------
    tiers : sequence of Tier
        What is listed; everything is counted.
    """
    pairs = _pair_rows(found, tiers)
    inside: dict[int | None, list[dict[str, Any]]] = {}
    for pair in pairs:
        if pair["tier"] == "same-recording":
            inside.setdefault(pair["group"], []).append(pair)
    named = {pair[end] for pair in pairs for end in ("first_id", "second_id")}
    groups = found.groups if "same-recording" in tiers else []
    tracks = track_facts(found, named | {member for group in groups for member in group})
    for pair in pairs:
        pair["first_path"] = _first_place(tracks, pair["first_id"])
        pair["second_path"] = _first_place(tracks, pair["second_id"])
    return {
        "store": str(found.layout.root),
        "snapshot": found.snapshot.number,
        "generation": found.snapshot.generation,
        "feature_fingerprint": found.snapshot.feature_fingerprint,
        "counts": found.counts,
        "tiers": found.tier_counts(),
        "notes": _notes_on(found.counts),
        "exact": [
            {"track_id": track_id, "locations": places}
            for track_id, places in (found.places.items() if "exact" in tiers else ())
        ],
        "groups": [
            _group(number, members, inside[number], tracks)
            for number, members in enumerate(groups, 1)
        ],
        "pairs": pairs,
    }


def _pair_rows(found: Duplicates, tiers: Sequence[Tier]) -> list[dict[str, Any]]:
    """Give the pairs of some tiers: by tier, then from the most to the least certain."""
    group_of = {member: number for number, group in enumerate(found.groups, 1) for member in group}
    listed = found.pairs.filter(
        pc.is_in(found.pairs["tier"], value_set=pa.array(tiers, pa.string()))
    )
    rows = [
        {"group": _common(group_of.get(row["first_id"]), group_of.get(row["second_id"])), **row}
        for row in listed.to_pylist()
    ]
    order = {tier: place for place, tier in enumerate(tiers)}
    rows.sort(key=lambda row: (order[row["tier"]], -row["confidence"], row["first_id"]))
    return [_rounded(row) for row in rows]


def _common(first: int | None, second: int | None) -> int | None:
    return first if first == second else None


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()
    }


def _notes_on(counts: dict[str, int]) -> list[str]:
    """Say what was cut off or left out: one sentence for each."""
    sentences = {
        "tracks_without_fingerprint": "tracks were proposed by their codes only and not compared: "
        "their frames are gone or damaged; 'musichash verify' says which",
        "cut_off_by_landmarks": "pairs that share landmarks were not compared: their tracks have "
        "better ones; --per-track takes more",
        "cut_off_single_landmarks": "pairs that share one landmark only were not compared: in a "
        "catalogue of this size chance makes too many of them",
        "cut_off_by_codes": "pairs of near codes were not compared: their tracks have nearer "
        "ones; --per-track takes more",
        "codes_not_asked": "tracks were looked for by their landmarks only: the catalogue is too "
        "large to compare all codes",
        "cut_off_by_windows": "pairs of agreeing windows were not compared: their tracks have "
        "better ones; --per-track takes more",
        "windows_not_asked": "tracks were not looked for by their windows of ten seconds: the "
        "catalogue is too large to compare all windows",
        "crowded_windows": "windows of ten seconds agree with so many others that they paired no "
        "tracks: silence, or held notes",
        "chromaprint_contradicts": "pairs that would be of one recording are likely-same only, "
        "because Chromaprint clearly hears two",
        "chromaprint_not_compared": "likely pairs were not compared by Chromaprint: a file is gone "
        "or cannot be decoded, or its first two minutes hold too little of both",
        "crowded_landmarks": "landmarks are in so many tracks that only neighbouring tracks were "
        "paired by them",
    }
    return [f"{counts[name]:,} {said}" for name, said in sentences.items() if counts.get(name)]


def track_facts(found: Duplicates, track_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Give what the tracks table says of some tracks: places, coding, length, tags."""
    names = ["track_id", "locations", *_FACTS]
    table = read_table(found.layout, found.snapshot, "tracks", columns=names)
    wanted = pa.array(sorted(track_ids), pa.string())
    rows = table.filter(pc.is_in(table["track_id"], value_set=wanted)).to_pylist()
    return {row["track_id"]: row for row in rows}


def _first_place(tracks: dict[str, dict[str, Any]], track_id: str) -> str:
    return str(tracks[track_id]["locations"][0])


def _group(
    number: int,
    members: Sequence[str],
    pairs: Sequence[dict[str, Any]],
    tracks: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """Describe a group, by its members and its pairs; the copy that looks best first."""
    ranked = rank_copies([_copy(tracks[member]) for member in members])
    return {
        "group": number,
        "n_pairs": len(pairs),
        "least_confidence": min(pair["confidence"] for pair in pairs),
        "most_chromaprint_error": max(
            (pair["chromaprint_error"] for pair in pairs if pair["chromaprint_error"] is not None),
            default=None,
        ),
        "members": [
            _member(tracks[copy.track_id], copy, is_best=place == 0)
            for place, copy in enumerate(ranked)
        ],
    }


def _copy(row: dict[str, Any]) -> Copy:
    facts = {name: row[name] for name in ("codec", "sr", "n_channels", "duration_s", "n_bytes")}
    return Copy(row["track_id"], **facts)


def _member(row: dict[str, Any], copy: Copy, *, is_best: bool) -> dict[str, Any]:
    return {
        "track_id": row["track_id"],
        "path": row["locations"][0],
        "locations": row["locations"],
        "looks_best": is_best,
        "is_lossless": is_lossless(row["codec"]),
        "kbit_per_s": round(copy.bit_rate / 1000.0),
        **{name: row[name] for name in _FACTS},
    }


def write_answer(answer: dict[str, Any], output: str) -> Path:
    """Write an answer to a file: its suffix says how.

    Parquet and CSV hold the pairs, one row each; JSON holds all.

    Raises
    ------
    ParameterError
        If the file has another suffix than `OUTPUT_SUFFIXES`.
    StoreError
        If it cannot be written.
    """
    path = check_output(output)
    try:
        if path.suffix == ".json":
            text = json.dumps(answer, indent=2, ensure_ascii=False, default=str)
            write_file(path, f"{escape_controls_in_json(text)}\n".encode())
        else:
            _write_rows(path, answer["pairs"])
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror}; name another file with --output"
        ) from error
    return path


def check_output(output: str) -> Path:
    """Refuse a file whose suffix does not say how to write it, before any work."""
    path = Path(output).absolute()
    if path.suffix not in OUTPUT_SUFFIXES:
        raise ParameterError(
            f"--output {output}: the name must end in {', '.join(OUTPUT_SUFFIXES)}, which says "
            "how to write it"
        )
    if not path.parent.is_dir():
        raise ParameterError(f"--output {output}: there is no folder {path.parent}")
    return path


def _write_rows(path: Path, pairs: Sequence[dict[str, Any]]) -> None:
    columns = {name: [pair[name] for pair in pairs] for name in _ROWS.names}
    table = pa.table(columns, schema=_ROWS)
    if path.suffix == ".csv":
        write_file(path, "".join(csv_pieces(table.to_batches(), _ROWS)).encode())
        return
    temporary = path.with_name(f".tmp-{path.name}")
    write_table(temporary, table)
    place_file(temporary, path)
