"""What every worker of this machine needs, loaded once in the process that they are forked from.

Imported by Python's fork server alone, by its name (see `flows.cluster_kinds`). Loading libraries
and compiled kernels takes a worker some three seconds, more than a small night; forked, it has
them at once, as does the successor of one that died. Nothing here may start a thread.
"""

import gc
import importlib
from contextlib import suppress

from flows.environment import COLLECT_SELDOM

NEEDED = (
    "distributed.nanny",
    "distributed.worker",
    "musichash_core.descriptor_models",
    "musichash_core.inference",
    "musichash_core.musicnn.networks",
    "tasks.extract",
    "tasks.describe",
    "tasks.encode",
)

gc.disable()  # everything below stays, so that looking through it frees nothing

with suppress(Exception):  # the worker itself does the same again, and says what is wrong
    for name in NEEDED:
        importlib.import_module(name)
    importlib.import_module("tasks.resources").warm_worker()

gc.set_threshold(*COLLECT_SELDOM)
gc.enable()
