"""Promote a generation again and again, killed before each of its file operations in turn.

``python promotion_kills.py STORE ROOT GENERATION``: for k = 0, 1, 2, ... the store is copied to
``ROOT/k`` and a forked child promotes there and dies, without any clean-up, before its k-th file
operation. The last k is the first whose child was not killed; its number is printed.
"""

import os
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
    for number in range(kill_points.MAX_POINTS):
        store = Path(root, str(number))
        shutil.copytree(source, store)
        child = os.fork()
        if child == 0:
            kill_points.die_before(number, store)
            promote(store, generation)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 0:
            print(number)
            return
        if status != kill_points.KILLED:
            sys.exit(f"the child ended with {status}")


if __name__ == "__main__":
    main()
