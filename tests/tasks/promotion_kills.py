"""Promote a generation again and again, killed before each of its file operations in turn.

``python promotion_kills.py STORE ROOT GENERATION``: for k = 0, 1, 2, ... the store is copied to
``ROOT/k`` and a forked child promotes there and dies, without any clean-up, before its k-th file
operation. The last k is the first whose child was not killed; its number is printed.
"""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "storage"))

import kill_points

import tasks.promotion
from tasks.ledger import begin_run


def promote(store, generation):
    with begin_run(str(store), kind="promote") as opened:
        promoted = tasks.promotion.promote(str(store), opened.record, generation)
        opened.record = promoted.record


def main():
    source, root, generation = sys.argv[1:]
    kill_points.kill_at_each(
        lambda store: shutil.copytree(source, store),
        lambda store: promote(store, generation),
        root,
    )


if __name__ == "__main__":
    main()
