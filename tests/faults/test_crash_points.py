"""A night that is killed, torn, or out of disk at any file operation, and one that loses power.

The trials themselves are in publishing_run.py. Here a seeded sample of them is judged; the slow
tests judge every operation.
"""

import pytest

pytestmark = pytest.mark.timeout(600)  # the trials take half a minute on a quiet core

SAMPLE = {
    "extract": {"kill": 1, "tear": 1},
    "publish": {"kill": 4, "tear": 4, "full": 3, "broken": 3, "power": 6, "kill-then-power": 3},
}


@pytest.fixture(scope="module")
def sampled(run_trials):
    return run_trials(SAMPLE)


def unkept(outcome):
    """Name the promises that a disturbed night broke."""
    return {
        name: outcome[name]
        for name, is_kept in {
            "sees": outcome["sees"] in {"old", "new"},
            "why_not_completed": outcome["why_not_completed"] is None,
            "ends_as": outcome["ends_as"] == "new",
            "differing": not outcome["differing"],
            "left_over": not outcome["left_over"],
        }.items()
        if not is_kept
    }


def assert_all_kept(outcomes):
    broken = [
        (outcome["scene"], outcome["fault"], outcome["at"], outcome["operation"], promises)
        for outcome in outcomes
        if (promises := unkept(outcome))
    ]
    assert broken == []


def assert_said_clearly(outcomes):
    """A night that could not write says which store, why, and what to do."""
    for outcome in outcomes:
        said = outcome["said"]
        assert said is not None, outcome  # it was not killed, and did not die of it
        if "error" in said:
            assert said["is_ours"], (outcome["operation"], said["error"])
            assert "store" in said["error"]
            assert "cannot be written" in said["error"]
            assert "free space" in said["error"]


def test_what_an_undisturbed_night_does_has_all_kinds_of_operations(sampled):
    facts = sampled.facts
    assert facts["extract"]["n_operations"] > 100
    assert facts["publish"]["n_operations"] > 100
    assert {kind for kind in "CWRLUMF" if facts["kinds"].get(kind)} == set("CWRLUMF")
    assert facts["old"] != facts["new"]
    for seen, n_codes in (("old", 3), ("new", 4)):
        assert facts[seen]["rows"]["codes"] == n_codes
        assert facts[seen]["findings"] == []


def test_a_killed_or_torn_night_leaves_the_old_snapshot_or_the_new_and_can_be_repeated(sampled):
    outcomes = sampled.of("kill", "tear")
    assert len(outcomes) == 10
    assert all(outcome["said"] is None for outcome in outcomes)  # it was killed
    assert_all_kept(outcomes)


def test_a_night_on_a_full_or_broken_disk_harms_nothing_and_says_what_to_do(sampled):
    outcomes = sampled.of("full", "broken")
    assert_all_kept(outcomes)
    assert_said_clearly(outcomes)
    assert any("error" in outcome["said"] for outcome in outcomes)


def test_a_power_loss_leaves_the_old_snapshot_or_the_new_and_the_night_can_be_repeated(sampled):
    assert_all_kept(sampled.of("power"))


def test_a_night_completed_after_a_kill_survives_a_power_loss(sampled):
    outcomes = sampled.of("kill-then-power")
    assert_all_kept(outcomes)
    assert {outcome["sees"] for outcome in outcomes} == {"new"}


@pytest.mark.slow
@pytest.mark.timeout(10_800)
@pytest.mark.parametrize("scene", ["extract", "publish"])
def test_every_operation_of_a_night(run_trials, scene):
    """About an hour per scene on one core."""
    faults = ("kill", "tear", "full", "broken", "kill-then-power", "power")
    trials = run_trials({scene: dict.fromkeys(faults, "every")})
    assert_all_kept(trials.outcomes)
    assert_said_clearly(trials.of("full", "broken"))
    assert {outcome["sees"] for outcome in trials.of("kill-then-power")} == {"new"}
    if scene == "publish":
        assert {outcome["sees"] for outcome in trials.of("kill", "tear", "power")} == {"old", "new"}
