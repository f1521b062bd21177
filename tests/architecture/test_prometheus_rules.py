"""The alerts of deploy/prometheus speak of figures that exist, and fire when they should."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from storage.runs import finish_run, start_run
from storage.store import create_store
from tasks.monitoring import metrics_text, store_metrics

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "musichash.rules.yml"
SOURCES = [RULES.parents[2] / "tasks" / name for name in ("monitoring.py", "monitoring_runs.py")]

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool (Debian: prometheus) is not here"
)


def rules():
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return group["rules"]


def test_each_alert_is_named_once_waits_and_says_what_to_do():
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names) >= 8
    for rule in rules():
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert "{{ $labels.store }}" in rule["annotations"]["summary"]
        assert rule["annotations"]["what_to_do"].endswith(".")
        assert re.fullmatch(r"\d+[mhd]", rule["for"])


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_each_alert_asks_for_figures_that_are_given(rule):
    given = set()
    for source in SOURCES:
        given |= set(re.findall(r'gauge\(\s*"([a-z_]+)"', source.read_text()))
    asked = set(re.findall(r"\bmusichash_([a-z_]+)", rule["expr"]))
    assert asked
    assert asked <= given


@needs_promtool
def test_prometheus_takes_the_rules():
    subprocess.run([PROMTOOL, "check", "rules", str(RULES)], check=True, capture_output=True)


@needs_promtool
def test_prometheus_takes_the_figures(tmp_path):
    layout = create_store(tmp_path / "store")
    run = start_run(layout)
    finish_run(layout, replace(run, seen=1, done=1, stages={"extract": {}}), state="done")
    text = metrics_text(store_metrics(str(layout.root)), is_json=False)
    said = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=text, text=True, capture_output=True, check=False
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def series(name, values, **labels):
    labels = ",".join(f'{label}="{value}"' for label, value in {"store": "s", **labels}.items())
    return {"series": f"musichash_{name}{{{labels}}}", "values": values}


def hours(count, value, step=0):
    """Give the values of some hours, one each five minutes, growing by a step per hour."""
    return f"{value}{step / 12:+g}x{12 * count - 1}" if step else f"{value}x{12 * count - 1}"


NIGHT = {"kind": "nightly"}
FAILED = {"outcome": "failed"}
DAY = 86_400
SIZE = series("filesystem_size_bytes", hours(100, 1000))
SCENES = {
    "a night a day": (
        [series("last_success_timestamp_seconds", f"{hours(24, 0)} {hours(20, DAY)}", **NIGHT)],
        40,
        [],
    ),
    "a late night": (
        [series("last_success_timestamp_seconds", hours(40, 0), **NIGHT)],
        31,
        ["MusichashNightLate"],
    ),
    "a backfill is no night": (
        [
            series("last_success_timestamp_seconds", hours(40, 0), **NIGHT),
            series("last_success_timestamp_seconds", hours(40, 0, 3600), kind="backfill"),
        ],
        31,
        ["MusichashNightLate"],
    ),
    "a killed night": (
        [
            series("last_run_state", f"{hours(5, 0)} {hours(5, 1)}", state="killed"),
            series("last_run_state", f"{hours(5, 1)} {hours(5, 0)}", state="done"),
        ],
        8,
        ["MusichashNightFailed"],
    ),
    "failures that jump": (
        [series("published_tracks", f"{hours(30, 100)} {hours(9, 200)}", **FAILED)],
        33,
        ["MusichashFailuresJump"],
    ),
    "failures of a new store": ([series("published_tracks", hours(40, 15), **FAILED)], 33, []),
    "failures that stay": ([series("published_tracks", hours(40, 9000), **FAILED)], 33, []),
    "bad codes": (
        [series("code_health", f"{hours(3, 0)} {hours(9, 1)}", level="alarm")],
        6,
        ["MusichashCodesBad"],
    ),
    "odd codes": ([series("code_health", hours(30, 1), level="warn")], 26, ["MusichashCodesWorse"]),
    "codes that were odd": ([series("code_health", hours(30, 1), level="warn")], 20, []),
    "good codes": ([series("code_health", hours(30, 1), level="ok")], 26, []),
    "a run that is silent": (
        [
            series("lock_held", hours(5, 1), lock="run"),
            series("lock_heartbeat_timestamp_seconds", hours(5, 0), lock="run"),
        ],
        3,
        ["MusichashRunStuck"],
    ),
    "a run that works": (
        [
            series("lock_held", hours(5, 1), lock="run"),
            series("lock_heartbeat_timestamp_seconds", hours(5, 0, 3600), lock="run"),
        ],
        3,
        [],
    ),
    "a full disk": (
        [SIZE, series("filesystem_free_bytes", hours(9, 40))],
        3,
        ["MusichashDiskFull"],
    ),
    "no room for files": (
        [series("filesystem_free_files", hours(9, 99))],
        3,
        ["MusichashDiskFull"],
    ),
    "a disk that fills": (
        [SIZE, series("filesystem_free_bytes", hours(100, 340, -2))],
        80,
        ["MusichashDiskFullSoon"],
    ),
    "a disk in use": ([SIZE, series("filesystem_free_bytes", hours(100, 340))], 80, []),
    "an unreadable table": (
        [series("problems", f"{hours(3, 0)} {hours(9, 1)}")],
        6,
        ["MusichashStoreUnreadable"],
    ),
    "old figures": (
        [series("metrics_timestamp_seconds", hours(9, 0))],
        3,
        ["MusichashFiguresOld"],
    ),
}


@needs_promtool
def test_alerts_fire_when_they_should(tmp_path):
    names = [rule["alert"] for rule in rules()]
    fired = {name for _, _, fires in SCENES.values() for name in fires}
    assert fired == set(names)
    tests = []
    for name, (given, hour, fires) in SCENES.items():
        tests.append(
            {
                "name": name,
                "interval": "5m",
                "input_series": given,
                # ALERTS has a sample for each alert that fires.
                "promql_expr_test": [
                    {
                        "expr": 'sort(count by (alertname) (ALERTS{alertstate="firing"}))',
                        "eval_time": f"{hour}h20m",
                        "exp_samples": [
                            {"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in fires
                        ],
                    }
                ],
            }
        )
    path = tmp_path / "tests.yml"
    content = {"rule_files": [str(RULES)], "evaluation_interval": "5m", "tests": tests}
    path.write_text(yaml.safe_dump(content))
    said = subprocess.run(
        [PROMTOOL, "test", "rules", str(path)], text=True, capture_output=True, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr
