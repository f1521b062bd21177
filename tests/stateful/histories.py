"""Random histories of a store, each compared with the model after every step.

``python histories.py WORK MUSIC N_HISTORIES N_STEPS [SEED]``: with a seed, the same histories every
time. A history that breaks a promise is made as short as possible and printed, and the exit status
is 1. A process of its own, with ``OMP_NUM_THREADS=1``: a fork has none of the threads that FAISS
would wait for.
"""

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "storage"))  # what kills at a file operation
assert os.environ.get("OMP_NUM_THREADS") == "1"

from hypothesis import HealthCheck, seed, settings  # noqa: E402
from hypothesis.stateful import run_state_machine_as_test  # noqa: E402
from machine import Bench, machine_for  # noqa: E402

from tasks.resources import tagging_network, warm_worker  # noqa: E402

FILL = [("fill_generation", {"number": number, "limit": None, "at": None}) for number in range(3)]
TOLD = (
    (  # a night that is killed before readers see it is nothing to go back to
        ("change", {"edits": [("write", "music", "a.wav", "ambient", 1)]}),
        ("run", {"with_attic": False, "allow_shrink": False, "at": ("CURRENT", 0)}),
        ("change", {"edits": [("write", "music", "b.wav", "metal", 1)]}),
        ("run", {"with_attic": False, "allow_shrink": False, "at": None}),
        ("roll_snapshot_back", {"number": None, "at": None}),
    ),
    (  # a generation that readers saw is, although the promotion was killed after that
        *(("add_candidate", {"n_bits": n_bits}) for n_bits in (32, 128)),
        *FILL,
        ("promote", {"number": 0, "at": None}),
        ("promote", {"number": 1, "at": ("CURRENT", 1)}),
        ("promote", {"number": 2, "at": None}),
        ("roll_generation_back", {"at": None}),
    ),
)
"""Histories that broke a promise once, told step by step."""


def retell(machine):
    """Live through the told histories."""
    for steps in TOLD:
        years = machine()
        for name, arguments in steps:
            getattr(years, name)(**arguments)
            years.holds_what_it_must()


def main():
    work, music, *numbers = sys.argv[1:]
    n_histories, n_steps, *seeds = map(int, numbers)
    warm_worker()
    tagging_network()
    machine = machine_for(Bench(Path(work), Path(music)))
    retell(machine)
    if seeds:
        machine = seed(seeds[0])(machine)
    how = settings(
        max_examples=n_histories,
        stateful_step_count=n_steps,
        deadline=None,
        database=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=how)


if __name__ == "__main__":
    main()
