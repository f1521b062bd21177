"""Commands that are killed, torn, or out of disk at any file operation, or lose the power.

The trials themselves are in publishing_run.py, which also judges them. Here a seeded sample is
looked at, by the slow tests a larger one; `make faults` tries every operation.
"""

import pytest

pytestmark = pytest.mark.timeout(600)  # the trials take a quarter of a minute on a quiet core

ONE_EACH = {"kill": 1, "tear": 1, "full": 1, "broken": 1, "power": 1}
SAMPLE = {
    "extract": {"kill": 1},
    "publish": {"kill": 3, "tear": 2, "full": 2, "broken": 2, "power": 4, "kill-then-power": 2},
    "promote": ONE_EACH,
    "rollback": ONE_EACH,
    "gc": ONE_EACH,
    "backfill": ONE_EACH,
}
AT_LENGTH = {
    "publish": {
        "kill": "third",
        "tear": 12,
        "full": 12,
        "broken": 12,
        "power": 16,
        "kill-then-power": 12,
    },
    **{
        scene: {"kill": 8, "tear": 3, "full": 4, "broken": 4, "power": 6, "kill-then-power": 3}
        for scene in ("promote", "rollback", "gc", "backfill")
    },
}


@pytest.fixture(scope="module")
def sampled(run_trials):
    return run_trials(SAMPLE)


def test_an_undisturbed_night_has_all_kinds_of_operations(sampled):
    kinds = sampled.facts["extract"]["kinds"]
    assert {kind for kind in "CWRLUMF" if kinds.get(kind)} == set("CWRLUMF")
    assert sampled.facts["extract"]["n_operations"] > 100
    assert sampled.facts["publish"]["n_operations"] > 100


def test_undisturbed_commands_change_what_they_should(sampled):
    n_codes = {
        name: (scene["old"]["rows"]["codes"], scene["new"]["rows"]["codes"])
        for name, scene in sampled.facts.items()
    }
    assert n_codes == {
        "extract": (3, 4),  # one track went and two came
        "publish": (3, 4),
        "promote": (4, 4),
        "rollback": (4, 4),
        "gc": (4, 4),
        "backfill": (4, 5),
    }
    generations = {
        name: scene["old"]["generation"] == scene["new"]["generation"]
        for name, scene in sampled.facts.items()
    }
    assert {name for name, is_same in generations.items() if not is_same} == {"promote", "rollback"}
    assert sampled.facts["rollback"]["new"] == sampled.facts["promote"]["old"]
    assert sampled.facts["gc"]["new"] == sampled.facts["gc"]["old"]
    assert sampled.facts["gc"]["n_files"] < sampled.facts["rollback"]["n_files"]
    for scene in sampled.facts.values():
        assert scene["new"]["findings"] == []


def test_every_kind_of_trial_took_place(sampled):
    asked = {(scene, fault): n for scene, faults in SAMPLE.items() for fault, n in faults.items()}
    assert {key: len(sampled.of(key[1], scene=key[0])) for key in asked} == asked
    assert all(outcome["said"] is None for outcome in sampled.of("kill", "tear"))  # it was killed
    assert any("error" in outcome["said"] for outcome in sampled.of("full", "broken"))


def test_no_sampled_fault_breaks_a_promise(sampled):
    assert sampled.broken == []


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("scene", AT_LENGTH)
def test_no_fault_of_a_larger_sample_breaks_a_promise(run_trials, scene):
    trials = run_trials({scene: AT_LENGTH[scene]})
    assert trials.broken == []
    if scene == "publish":
        assert {outcome["sees"] for outcome in trials.of("kill")} == {"old", "new"}
