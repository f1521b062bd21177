"""What searching a large catalogue costs: memory, opening, and queries per CPU second.

    python tests/benchmarks/search_scale.py --tracks 1000000 --folder DIR

Publishes made-up codes, clustered like real ones, as the tracks of a store (330 bytes per track
in DIR), and asks it through the Python interface. Each measurement runs in a process of its own,
so that its memory is its own. Prints one JSON object.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from musichash_core.process_memory import peak_memory_bytes
from storage.indexes import keyed_codes, write_index
from storage.indexes.comparing import CodesOrigin
from storage.schemas import FAILURES, PREDICTIONS, TRACKS, codes_schema
from storage.snapshots import Snapshot, publish_snapshot
from storage.store import create_store, open_store
from storage.tables import write_part

GENRES = (
    "blues",
    "classical",
    "disco",
    "hip-hop",
    "jazz",
    "metal",
    "pop",
    "reggae",
    "rock",
    "soul",
)
CODES_PER_CENTRE = 20
FLIPPED = 0.08
N_BITS = 64

# --- a store of made-up codes --------------------------------------------------------------------


def track_ids(numbers):
    """Give ids that are spread as digests are, ascending, for numbers from 0."""
    step = (1 << 128) // max(1, len(numbers))
    return [f"{number * step + 12_345:032x}" for number in range(len(numbers))]


def publish_made_up(store, logits, *, generation="g-made-up", settings=None, **columns):
    """Publish real-valued codes as the tracks of a store; give the snapshot's number.

    Parameters
    ----------
    logits : (n, n_bits) float32
        In the order of ids.
    generation : str
        Of the model; files can be asked about where the store has it.
    settings : IndexSettings, optional
        Which index is made.
    columns : lists
        Of the tables of tracks and predictions, such as ``genre``, ``label``, ``duration_s``,
        ``tag_year``, ``root``, ``path``, ``track_id``; by default something plain.
    """
    layout = open_store(store)
    logits = np.asarray(logits, np.float32)
    n, n_bits = logits.shape
    ids = columns.pop("track_id", None) or track_ids(range(n))
    codes = np.packbits(logits >= 0, axis=1, bitorder="little")
    windows = columns.pop("segment_codes", [[]] * n), columns.pop("segment_starts_s", [[]] * n)
    roots = columns.pop("root", ["/music"] * n)
    paths = columns.pop(
        "path", [f"album {at // 12}/{at % 12:02d} track {at}.ogg" for at in range(n)]
    )
    genres = columns.pop("genre", [GENRES[at % len(GENRES)] for at in range(n)])
    tables = {
        "codes": _table(
            codes_schema(n_bits),
            n,
            track_id=ids,
            code=pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(n_bits // 8), n, [None, pa.py_buffer(codes.tobytes())]
            ),
            logits=pa.FixedSizeListArray.from_arrays(pa.array(logits.reshape(-1)), n_bits),
            segment_codes=windows[0],
            segment_starts_s=windows[1],
        ),
        "predictions": _table(
            PREDICTIONS,
            n,
            track_id=ids,
            genre=genres,
            probability=columns.pop("probability", [0.7] * n),
            probabilities=[[(genre, 0.7), ("other", 0.3)] for genre in genres],
        ),
        "tracks": _table(
            TRACKS,
            n,
            track_id=ids,
            root=roots,
            path=paths,
            locations=[[f"{root}/{path}"] for root, path in zip(roots, paths, strict=True)],
            status=["ok"] * n,
            duration_s=columns.pop("duration_s", [180.0] * n),
            **columns,
        ),
        "failures": FAILURES.empty_table(),
    }
    parts = {name: write_part(layout, name, table) for name, table in tables.items()}
    origin = CodesOrigin(generation, (parts["codes"].sha256,))
    written = write_index(layout, keyed_codes(tables["codes"]), origin, settings=settings)
    files = [*parts.values(), *written.files]
    snapshot = Snapshot(
        number=0,
        feature_fingerprint="f" * 12,
        generation=generation,
        tables={name: [part.path] for name, part in parts.items()},
        index=written.index.path,
        index_info=written.info.path,
        counts={"tracks": n, "codes": n},
        files=tuple(sorted(files, key=lambda entry: entry.path)),
    )
    return publish_snapshot(layout, snapshot)


def _table(schema, n, **columns):
    """Make a table of some columns; the others get something of their kind."""
    arrays = []
    for field in schema:
        if field.name in columns:
            values = columns[field.name]
            is_array = isinstance(values, (pa.Array, pa.ChunkedArray))
            arrays.append(values if is_array else pa.array(values, field.type))
        elif field.nullable:
            arrays.append(pa.nulls(n, field.type))
        else:
            plain = {pa.string(): "g-made-up", pa.float64(): 0.0, pa.float32(): 0.0}
            arrays.append(pa.array([plain.get(field.type, 0)] * n, field.type))
    return pa.table(arrays, schema=schema)


def clustered_logits(n, *, seed=0):
    """Give real-valued codes around centres, of which bits are turned over by chance."""
    rng = np.random.default_rng(seed)
    centres = rng.choice(np.array([-1, 1], np.int8), (max(1, n // CODES_PER_CENTRE), N_BITS))
    signs = centres[rng.integers(0, len(centres), n)]
    signs[rng.random((n, N_BITS), dtype=np.float32) < FLIPPED] *= -1
    return signs * rng.random((n, N_BITS), dtype=np.float32)


# --- measurements, each in a process of its own --------------------------------------------------


def make_step(folder, n):
    create_store(folder / "store")
    rng = np.random.default_rng(1)
    publish_made_up(
        str(folder / "store"),
        clustered_logits(n),
        duration_s=rng.integers(30, 600, n).astype(float).tolist(),
        tag_year=rng.integers(1950, 2025, n).tolist(),
    )
    return {"bytes": sum(path.stat().st_size for path in (folder / "store").rglob("*.*"))}


def ask_step(folder, n):
    """Open a catalogue and ask it in the usual ways."""
    from tasks.search import Filters, Reach, open_catalogue

    found = {"mb_before": round(peak_memory_bytes() / 1e6, 1)}
    clock = time.process_time()
    with open_catalogue(str(folder / "store")) as catalogue:
        found["open_cpu_s"] = round(time.process_time() - clock, 3)
        found["mb_open"] = round(peak_memory_bytes() / 1e6, 1)
        ids = track_ids(range(n))
        rng = np.random.default_rng(2)
        chosen = [ids[at] for at in rng.integers(0, n, 2_000)]
        ways = {
            "first_track": lambda: catalogue.search_track(chosen[0]),
            "ids_in_bulk": lambda: catalogue.nearest_to_tracks(chosen, Reach(10)),
            "ids_one_by_one": lambda: [
                catalogue.nearest_to_tracks([one], Reach(10)) for one in chosen[:200]
            ],
            "answers_one_by_one": lambda: [catalogue.search_track(one) for one in chosen[:50]],
            "first_genre": lambda: catalogue.search_track(
                chosen[0], filters=Filters(genres=("jazz",))
            ),
            "genre_in_bulk": lambda: catalogue.nearest_to_tracks(
                chosen, Reach(10), Filters(genres=("jazz",))
            ),
            "radius_in_bulk": lambda: catalogue.nearest_to_tracks(chosen, Reach(10, radius=8)),
            "by_path": lambda: catalogue.search_track("album 7/03 track 87.ogg"),
        }
        numbers = {"ids_in_bulk": 2_000, "ids_one_by_one": 200, "answers_one_by_one": 50}
        numbers |= {"genre_in_bulk": 2_000, "radius_in_bulk": 2_000}
        for name, ask in ways.items():
            clock = time.process_time()
            ask()
            cpu_s = time.process_time() - clock
            found[name] = {
                "queries": numbers.get(name, 1),
                "cpu_ms_each": round(1e3 * cpu_s / numbers.get(name, 1), 3),
                "queries_per_cpu_s": round(numbers.get(name, 1) / cpu_s, 1),
                "mb_peak": round(peak_memory_bytes() / 1e6, 1),
            }
    return found


STEPS = {"make": make_step, "ask": ask_step}


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where the store is made")
    parser.add_argument("--tracks", type=int, default=100_000, help="length of the catalogue")
    parser.add_argument("--step", choices=STEPS, help="one step alone, as the others do it")
    given = parser.parse_args(arguments)
    if given.step:
        return STEPS[given.step](given.folder, given.tracks)
    measured = {"tracks": given.tracks}
    for step in STEPS:
        if step == "make" and (given.folder / "store").exists():
            continue
        command = [sys.executable, __file__, "--step", step, "--folder", str(given.folder)]
        printed = subprocess.run(
            [*command, "--tracks", str(given.tracks)], check=True, stdout=subprocess.PIPE, text=True
        ).stdout
        measured[step] = json.loads(printed)
    return measured


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:]), indent=2 if "--step" not in sys.argv else None))
