"""Collect garbage again and again, killing the collector before each of its file operations.

``python gc_kill_points.py STORE ROOT``: for k = 0, 1, 2, ... a copy of the store in ``ROOT/k`` is
collected by a forked child that dies before its k-th file operation. The last k is the first whose
child was not killed; its number is printed.
"""

import os
import shutil
import sys
from pathlib import Path

from kill_points import KILLED, MAX_POINTS, die_before

from storage.garbage import collect, plan_collection
from storage.store import holding_off_backfills, open_store, writing


def collect_garbage(root, *, keep=1):
    layout = open_store(root)
    with writing(layout), holding_off_backfills(layout) as is_alone:
        collect(layout, plan_collection(layout, keep=keep), is_alone=is_alone)


def main():
    for number in range(MAX_POINTS):
        root = Path(sys.argv[2], str(number))
        shutil.copytree(sys.argv[1], root)
        child = os.fork()
        if child == 0:
            die_before(number, root)
            collect_garbage(root)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 0:
            print(number)
            return
        if status != KILLED:
            sys.exit(f"the child ended with {status}")


if __name__ == "__main__":
    main()
