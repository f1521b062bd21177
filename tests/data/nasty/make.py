"""Write the nasty corpus, for a look at it or for a run of the pipeline over it.

    python tests/data/nasty/make.py FOLDER

FOLDER/corpus holds the files, FOLDER/outside what links lead to, FOLDER/expected.json the right
outcome of each case. Nothing is drawn at random: the bytes depend on the versions of libsndfile and
FFmpeg alone. Some files are sparse and look like gigabytes.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from nasty.case import Case
from nasty.registry import CASES, write_corpus


def expected(case: Case) -> dict[str, object]:
    """Give what is right to happen to a case, as JSON can say it."""
    return {
        "name": case.name,
        "path": case.path_raw.decode("utf-8", "backslashreplace"),
        "sound": None if case.sound is None else asdict(case.sound),
        "codes": sorted(case.codes),
        "warnings": case.warnings,
        "made_by": case.made_by,
        "is_scanned": case.is_scanned,
        "because": case.because,
    }


def main(folder: Path) -> None:
    """Write the corpus and its expectations."""
    write_corpus(folder)
    text = json.dumps([expected(case) for case in CASES], indent=1)
    (folder / "expected.json").write_text(text, encoding="utf-8")
    print(f"{len(CASES)} cases below {folder}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    main(parser.parse_args().folder)
