"""How many copies of real tracks are proposed and confirmed, by kind of copy; and what is false.

    python tests/benchmarks/duplicates.py --music DIR [DIR ...] --folder EMPTY_DIR [--tracks 64]

Of `--tracks` files below the music folders (20 to 160 s long, at most two of a folder, in an order
that follows from their names) sixteen versions each are written as files: coded with loss,
resampled, cut by one to five seconds, softer, louder than fits, and combinations. Everything is
published in a new store by ``musichash run`` and asked for by ``musichash duplicates``. Prints a
table, the figures of both halves of the tracks (thresholds were chosen on the even ones), and every
pair of the tier same-recording that is not of one original: look at them.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import soundfile
import soxr

SUFFIXES = {".ogg", ".opus", ".mp3", ".flac", ".wav"}
SHORTEST_S, LONGEST_S = 20.0, 160.0
PER_FOLDER = 2
EXCERPT = "excerpt of 15 s"
DONE_WITH_FAILURES = 3
SOURCES = ("landmarks", "codes", "windows")
FLAC = ({"format": "FLAC", "subtype": "PCM_16"}, "flac")


def mp3(kbits):
    """libsndfile takes the share of the way from 320 to 32 kbit/s; at 16 kHz from 160 to 8."""
    how = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT"}
    return how | {"compression_level": (320 - kbits) / 288}, "mp3"


def ogg(quality):
    return {"format": "OGG", "subtype": "VORBIS", "compression_level": 1.0 - quality}, "ogg"


def versions(y, sr, rng):
    """Give name, samples, rate and coding of each version."""
    a, b = (rng.uniform(1, 5, 2) * sr).astype(int)

    def at(samples, rate):
        return (soxr.resample(samples, sr, rate) if rate != sr else samples), rate

    middle, half = len(y) // 2, int(7.5 * sr)
    yield "cut at the start", y[a:], sr, FLAC
    yield "cut at the end", y[:-b], sr, FLAC
    yield "cut at both ends", y[a:-b], sr, FLAC
    yield "12 dB softer", y / 4, sr, FLAC
    yield "6 dB louder, clipped", y * 2, sr, FLAC
    yield "16 kHz", *at(y, 16_000), FLAC
    yield "48 kHz", *at(y, 48_000), FLAC
    yield "Ogg, quality 4", y, sr, ogg(0.4)
    yield "MP3, 128 kbit_s", *at(y, 44_100), mp3(128)
    yield "MP3, 64 kbit_s", *at(y, 44_100), mp3(64)
    yield "MP3, 64 kbit_s, mono", *at(y.mean(1, keepdims=True), 44_100), mp3(64)
    yield "MP3 64, cut at both ends", *at(y[b:-a], 44_100), mp3(64)
    yield "Ogg quality 1, 12 dB softer, cut", (y / 4)[b:], sr, ogg(0.1)
    yield "MP3 64, 6 dB louder, cut", *at((y * 2)[a:-b], 44_100), mp3(64)
    yield "MP3 24 at 16 kHz, cut", *at(y[:-a], 16_000), mp3(64)
    yield EXCERPT, y[middle - half : middle + half], sr, FLAC


def choose(folders, n_tracks):
    """Choose tracks; the same ones each time."""
    files = [path for folder in folders for path in Path(folder).rglob("*")]
    files = [path for path in files if path.suffix.lower() in SUFFIXES and path.is_file()]
    chosen, of_folder = [], Counter()
    for path in sorted(files, key=lambda path: hashlib.sha256(path.name.encode()).digest()):
        if len(chosen) == n_tracks:
            break
        if of_folder[path.parent] >= PER_FOLDER:
            continue
        try:
            facts = soundfile.info(path)
        except soundfile.LibsndfileError:
            continue
        if SHORTEST_S <= facts.duration <= LONGEST_S:
            chosen.append(path)
            of_folder[path.parent] += 1
    return chosen


def write_versions(path, number, root):
    y, sr = soundfile.read(path, dtype="float32", always_2d=True)
    for name, changed, rate, (how, suffix) in versions(y[:, :2], sr, np.random.default_rng(number)):
        clipped = changed.clip(-1.0, 1.0 - 2.0**-15).astype(np.float32)
        target = root / f"{number:03d}.{name}.{suffix}"
        with soundfile.SoundFile(target, "w", rate, clipped.shape[1], **how) as file:
            for start in range(0, len(clipped), rate):
                file.write(clipped[start : start + rate])


def run(*arguments):
    command = Path(sys.executable).with_name("musichash")
    done = subprocess.run([command, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, DONE_WITH_FAILURES):
        sys.exit(f"musichash {arguments[0]} ended with {done.returncode}")
    return done.stdout


def main(music, folder, n_tracks):
    root, store = Path(folder, "versions"), str(Path(folder, "store"))
    root.mkdir(parents=True)
    originals = choose(music, n_tracks)
    for number, path in enumerate(originals):
        write_versions(path, number, root)
    catalogues = [part for place in [*music, str(root)] for part in ("--catalogue", str(place))]
    run("run", "--store", store, *catalogues, "--labels", "none")
    started = time.monotonic()
    tiers = [
        part
        for tier in ("exact", "same-recording", "likely-same", "similar-only")
        for part in ("--tier", tier)
    ]
    answer = json.loads(run("duplicates", "--store", store, *tiers, "--json"))
    print(f"duplicates took {time.monotonic() - started:.0f} s by the clock")
    report(answer, originals, root)


def proposed_by(pair):
    return () if pair is None else pair["proposed_by"].split("+")


def report(answer, originals, root):
    print(answer["counts"])
    # Two versions may be the same bytes: then they are one track in two places.
    ids = {place: track["track_id"] for track in answer["exact"] for place in track["locations"]}
    pairs = {}
    for pair in answer["pairs"]:
        ids |= {pair[f"{end}_path"]: pair[f"{end}_id"] for end in ("first", "second")}
        pairs[frozenset((pair["first_id"], pair["second_id"]))] = pair
    group = {m["track_id"]: g["group"] for g in answer["groups"] for m in g["members"]}
    names = {str(path): number for number, path in enumerate(originals)}
    number_of = {ids[path]: number for path, number in names.items() if path in ids}
    rows, rates = defaultdict(Counter), defaultdict(list)
    for path in sorted(root.iterdir()):
        number, kind = int(path.name[:3]), path.stem[4:]
        version, original = ids.get(str(path)), ids.get(str(originals[number]))
        number_of.setdefault(version, number)
        pair = pairs.get(frozenset((version, original)))
        is_same = version is not None and version == original
        found = {
            "copies": True,
            **{source: is_same or source in proposed_by(pair) for source in SOURCES},
            "proposed": is_same or pair is not None,
            "confirmed": is_same or (pair is not None and pair["tier"] == "same-recording"),
            "in its group": is_same or (version in group and group[version] == group.get(original)),
        }
        halves = (
            () if kind == EXCERPT else ("all copies", "odd tracks" if number % 2 else "even tracks")
        )
        for name in (kind, *halves):
            rows[name].update({what: int(is_so) for what, is_so in found.items()})
            rates[name] += [] if pair is None else [pair["bit_error_rate"]]
    columns = ("copies", *SOURCES, "proposed", "confirmed", "in its group")
    print("| copy |", " | ".join(columns), "| bits differ, median | most |")
    for name, counts in rows.items():
        some = [rate for rate in rates[name] if rate is not None] or [0.0]
        shown = " | ".join(str(counts[column]) for column in columns)
        print(f"| {name} | {shown} | {np.median(some):.1%} | {max(some):.1%} |")
    for pair in answer["pairs"]:
        ends = [
            number_of.get(pair[f"{end}_id"], pair[f"{end}_path"]) for end in ("first", "second")
        ]
        if pair["tier"] == "same-recording" and ends[0] != ends[1]:
            print(
                f"look: {pair['bit_error_rate']:.1%} {pair['first_path']} = {pair['second_path']}"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--music", nargs="+", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--tracks", type=int, default=64)
    chosen = parser.parse_args()
    folders = [str(Path(folder).resolve()) for folder in (*chosen.music, chosen.folder)]
    main(folders[:-1], folders[-1], chosen.tracks)
