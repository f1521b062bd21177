"""The stages in their Prefect form, for the flows; the subcommands call the plain functions.

Public: `scan_task`, `scan_collection_task`, `plan_task`, `extract_task`, `describe_task`,
`train_task`, `encode_task`, `index_task`, `report_task`.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE

from flows.scan_stages import scan_collection_stage, scan_stage
from flows.stages import (
    describe_stage,
    encode_stage,
    extract_stage,
    index_stage,
    plan_stage,
    report_stage,
    train_stage,
)

P = ParamSpec("P")
R = TypeVar("R")


def _as_task(function: Callable[P, R], name: str) -> Task[P, R]:
    """Bind a stage to Prefect: never cached (receipts decide what is done), never persisted."""
    return task(name=name, cache_policy=NO_CACHE, persist_result=False)(function)


scan_task = _as_task(scan_stage, "scan")
scan_collection_task = _as_task(scan_collection_stage, "scan")
plan_task = _as_task(plan_stage, "plan")
extract_task = _as_task(extract_stage, "extract")
describe_task = _as_task(describe_stage, "describe")
train_task = _as_task(train_stage, "train")
encode_task = _as_task(encode_stage, "encode")
index_task = _as_task(index_stage, "index")
report_task = _as_task(report_stage, "report")
