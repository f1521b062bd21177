"""Figures for a monitoring system, in Prometheus' text format and in JSON.

Public: `Metric`, `Sample`, `prometheus_text`, `metrics_json`, `write_metrics`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from storage.atomic import to_json, write_file
from storage.layout import StoreLayout

METRICS_FORMAT = 1
"""Of the JSON form."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One value, and what it is of."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure, for each combination of labels.

    Attributes
    ----------
    name : str
        With its unit, and ``_total`` for what only grows.
    kind : "gauge" or "counter"
    meaning : str
        A sentence without line ends.
    samples : sequence of Sample
        None where it is not known.
    """

    name: str
    kind: Literal["gauge", "counter"]
    meaning: str
    samples: Sequence[Sample]


def prometheus_text(metrics: Sequence[Metric]) -> str:
    """Give metrics in the text exposition format 0.0.4; those without a sample are left out."""
    lines = []
    for metric in metrics:
        if not metric.samples:
            continue
        lines.append(f"# HELP {metric.name} {_escaped(metric.meaning)}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        lines += [
            f"{metric.name}{_labels(one.labels)} {_number(one.value)}" for one in metric.samples
        ]
    return "".join(f"{line}\n" for line in lines)


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{_escaped(value, quotes=True)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escaped(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    text = text.replace('"', '\\"') if quotes else text
    return text.encode(errors="backslashreplace").decode()


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(int(value)) if value == int(value) else repr(float(value))


def metrics_json(metrics: Sequence[Metric]) -> dict[str, Any]:
    """Give the same as JSON."""
    return {
        "format": METRICS_FORMAT,
        "metrics": [
            {
                "name": metric.name,
                "type": metric.kind,
                "help": metric.meaning,
                "samples": [
                    {"labels": dict(one.labels), "value": one.value} for one in metric.samples
                ],
            }
            for metric in metrics
            if metric.samples
        ],
    }


def write_metrics(layout: StoreLayout, metrics: Sequence[Metric]) -> None:
    """Keep metrics in the store, in both forms, each replaced as a whole."""
    write_file(layout.metrics_path("prom"), prometheus_text(metrics).encode())
    write_file(layout.metrics_path("json"), to_json(metrics_json(metrics)))
