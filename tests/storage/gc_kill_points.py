"""Collect garbage again and again, killing the collector before each of its file operations.

``python gc_kill_points.py STORE ROOT``: for k = 0, 1, 2, ... a copy of the store in ``ROOT/k`` is
collected by a forked child that dies before its k-th file operation. The last k is the first whose
child was not killed; its number is printed.
"""

import shutil
import sys

from kill_points import kill_at_each

from storage.garbage import collect, plan_collection
from storage.store import holding_off_backfills, open_store, writing


def collect_garbage(root, *, keep=1):
    layout = open_store(root)
    with writing(layout), holding_off_backfills(layout) as is_alone:
        collect(layout, plan_collection(layout, keep=keep), is_alone=is_alone)


def main():
    source, root = sys.argv[1:]
    kill_at_each(lambda place: shutil.copytree(source, place), collect_garbage, root)


if __name__ == "__main__":
    main()
