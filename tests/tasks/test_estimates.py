"""What a run will cost, worked by hand and against a simulation."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.estimates import START_S, Load, estimate_run, makespan_s
from tasks.rates import FIXED_S, GUESSES, WORKERS_START_S, StageRate

RATES = GUESSES | {
    "extract": StageRate("extract", core_s=0.01, n_bytes=100.0, n_runs=3),
    "encode": StageRate("encode", core_s=2.0, gpu_s=0.5, n_bytes=10.0, n_runs=1),
    "index": StageRate("index", core_s=0.1, wall_s=0.1, n_runs=1),
}


def simulate(costs, n_workers):
    """Let workers take the next piece of work second by second, as costs are whole seconds."""
    waiting, running, seconds = list(costs), [0] * n_workers, 0
    while waiting or any(running):
        for worker in range(n_workers):
            while not running[worker] and waiting:
                running[worker] = waiting.pop(0)
        if any(running):
            seconds += 1
        running = [max(0, left - 1) for left in running]
    return seconds


@given(costs=st.lists(st.integers(0, 9), max_size=20), n_workers=st.integers(1, 5))
@settings(deadline=None)
def test_the_last_worker_is_done_when_a_simulation_says_so(costs, n_workers):
    assert makespan_s(costs, n_workers) == simulate(costs, n_workers)


def test_an_estimate_is_the_work_times_the_rate_and_the_longest_row_of_work():
    loads = {
        "extract": [Load(10, 3000.0), Load(5, 1000.0), Load(5, 1000.0)],
        "encode": [Load(10, 3000.0), Load(10, 2000.0)],
        "index": [Load(50, 0.0)],
    }
    made = estimate_run(loads, RATES, n_workers=2)
    numbers = made.numbers
    assert numbers["extract_core_s"] == 50.0
    assert numbers["extract_wall_s"] == 30.0  # one worker has the large one, the other has two
    assert numbers["extract_bytes"] == 500_000
    assert numbers["extract_audio_s_per_core_s"] == 100.0
    assert (numbers["encode_core_s"], numbers["encode_wall_s"]) == (40.0, 20.0)
    assert numbers["encode_gpu_s"] == numbers["gpu_s"] == 10.0
    assert numbers["index_wall_s"] == pytest.approx(FIXED_S["index"] + 5.0)
    assert numbers["describe_tracks"] == numbers["describe_wall_s"] == 0
    assert numbers["core_s"] == 50 + 40 + 5
    assert numbers["bytes"] == 500_200
    assert numbers["eta_s"] == pytest.approx(
        START_S + WORKERS_START_S + 30 + 20 + FIXED_S["index"] + 5
    )
    assert numbers["guessed_stages"] == ""
    assert numbers["workers"] == 2


def test_one_gpu_that_has_more_to_do_than_the_workers_decides():
    rates = RATES | {"encode": StageRate("encode", core_s=0.1, gpu_s=1.0, n_runs=1)}
    made = estimate_run({"encode": [Load(10, 0.0)] * 4}, rates, n_workers=4)
    assert made.numbers["encode_wall_s"] == 40.0


def test_workers_that_wait_take_longer_for_the_same_cpu_time():
    rates = RATES | {"extract": StageRate("extract", core_s=0.01, slowdown=3.0, n_runs=1)}
    numbers = estimate_run({"extract": [Load(1, 1000.0)]}, rates, n_workers=2).numbers
    assert (numbers["extract_core_s"], numbers["extract_wall_s"]) == (10.0, 30.0)


def test_more_workers_than_partitions_do_not_help():
    loads = {"extract": [Load(1, 500.0), Load(1, 400.0)]}
    two, many = (estimate_run(loads, RATES, n_workers=n) for n in (2, 64))
    assert two.eta_s == many.eta_s


def test_what_is_guessed_is_named_only_where_there_is_work():
    made = estimate_run({"describe": [Load(1, 10.0)], "extract": [Load(1, 9.0)]}, RATES)
    assert made.guessed_stages == ("describe",)


def test_nothing_to_do_needs_no_workers():
    made = estimate_run({}, RATES, n_workers=2)
    assert made.eta_s == START_S
    assert (made.core_s, made.n_bytes) == (0, 0)
    assert made.numbers.keys() == estimate_run({"extract": [Load(1, 1.0)]}, RATES).numbers.keys()
