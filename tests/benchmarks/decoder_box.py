"""What decoding in a process of its own costs.

    python tests/benchmarks/decoder_box.py MUSIC_FOLDER [MAX_TRACKS [SANDBOX]]

Decodes each file in this process and in the decoder process, in turns, and adds up the CPU time of
both processes. The start of the decoder process is left out. Prints one JSON object.
"""

import json
import os
import sys
import time
from itertools import islice

from musichash_core.decode import AudioStream, DecodeConfig, DecoderBox, open_beneath
from musichash_core.errors import DecodeError
from storage.catalogue import check_roots, scan_catalogue


def main(folder, max_tracks=200, sandbox="off"):
    config = DecodeConfig(sandbox=sandbox)
    files = list(islice(scan_catalogue(check_roots([folder])).files, max_tracks))
    spent = {"here_cpu_s": 0.0, "box_cpu_s": 0.0, "here_wall_s": 0.0, "box_wall_s": 0.0}
    audio_s, n_failed = 0.0, 0
    with DecoderBox(config) as box:
        decode(files[0], box.open)  # starts the process

        def boxed_cpu_s():
            return time.process_time() + box.cpu_s

        for place, file in enumerate(files):
            ways = [
                ("here", lambda descriptor: AudioStream(descriptor, config), time.process_time),
                ("box", box.open, boxed_cpu_s),
            ]
            for name, opener, cpu_clock in ways if place % 2 else ways[::-1]:
                cpu, wall = cpu_clock(), time.perf_counter()
                length_s = decode(file, opener)
                spent[f"{name}_cpu_s"] += cpu_clock() - cpu
                spent[f"{name}_wall_s"] += time.perf_counter() - wall
            audio_s += length_s or 0.0
            n_failed += length_s is None
        return {
            "tracks": len(files),
            "failed": n_failed,
            "audio_hours": round(audio_s / 3600, 2),
            **{name: round(seconds, 2) for name, seconds in spent.items()},
            "box_adds": round(spent["box_cpu_s"] / spent["here_cpu_s"] - 1, 4),
            "box_peak_mb": round(box.peak_memory_bytes / 1e6, 1),
            "load": os.getloadavg()[0],
        }


def decode(file, opener):
    """Decode a file and let go of its samples; give its length, or None when it fails."""
    try:
        with opener(open_beneath(file.root, file.path_raw)) as stream:
            for _ in stream.blocks():
                pass
            return stream.n_frames / stream.info.sr
    except DecodeError:
        return None


if __name__ == "__main__":
    folder, *rest = sys.argv[1:]
    print(json.dumps(main(folder, *map(int, rest[:1]), *rest[1:2]), indent=2))
