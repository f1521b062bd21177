"""Prometheus' text is what Prometheus' own parser reads back."""

import json
import math

from prometheus_client.parser import text_string_to_metric_families

from storage.exposition import Metric, Sample, metrics_json, prometheus_text, write_metrics
from storage.layout import StoreLayout

AWKWARD = 'a\\n"b"\nc\\ {d}, e="f" ü'

METRICS = [
    Metric("x_bytes", "gauge", "Size of\nthings \\ all.", [Sample(3), Sample(1e18, {"of": "b"})]),
    Metric("x_seconds_total", "counter", "Time.", [Sample(0.1 + 0.2, {"of": AWKWARD})]),
    Metric("x_ratio", "gauge", "Odd ones.", [Sample(math.inf, {"n": "1"}), Sample(-1.5)]),
    Metric("x_unknown", "gauge", "Nothing.", []),
]


def test_prometheus_reads_every_value_and_label_back():
    families = {
        family.name: family for family in text_string_to_metric_families(prometheus_text(METRICS))
    }
    assert set(families) == {"x_bytes", "x_seconds", "x_ratio"}  # a counter's family has no suffix
    assert families["x_bytes"].type == "gauge"
    assert families["x_bytes"].documentation == "Size of\nthings \\ all."
    assert families["x_seconds"].type == "counter"
    read = {
        (sample.name, tuple(sample.labels.items())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert read == {
        ("x_bytes", ()): 3,
        ("x_bytes", (("of", "b"),)): 1e18,
        ("x_seconds_total", (("of", AWKWARD),)): 0.1 + 0.2,
        ("x_ratio", (("n", "1"),)): math.inf,
        ("x_ratio", ()): -1.5,
    }


def test_not_a_number_is_said_as_prometheus_does():
    text = prometheus_text([Metric("x", "gauge", "x", [Sample(math.nan)])])
    (family,) = text_string_to_metric_families(text)
    assert math.isnan(family.samples[0].value)


def test_a_name_that_is_no_text_can_be_written():
    text = prometheus_text([Metric("x", "gauge", "x", [Sample(1, {"root": "/m\udce9"})])])
    (family,) = text_string_to_metric_families(text.encode().decode())
    assert family.samples[0].labels["root"].startswith("/m")


def test_both_forms_are_kept_and_hold_the_same(tmp_path):
    layout = StoreLayout(tmp_path)
    write_metrics(layout, METRICS[:2])
    kept = json.loads(layout.metrics_path("json").read_text())
    assert kept == metrics_json(METRICS[:2])
    families = text_string_to_metric_families(layout.metrics_path("prom").read_text())
    in_text = [sample.value for family in families for sample in family.samples]
    in_json = [sample["value"] for metric in kept["metrics"] for sample in metric["samples"]]
    assert in_text == in_json
