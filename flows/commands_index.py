"""The subcommand ``reindex``, and what ``index`` says and does about an index that is published.

Public: `add_to`, `index_by_hand`, `show_index`, `preview_index`, `publish_index`, and the
``...Option`` annotations of ``index``.
"""

import re
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows.options import (
    ClusterOption,
    ConfigOption,
    JsonOption,
    SchedulerOption,
    StoreOption,
    WorkerMemoryOption,
    WorkersOption,
    cluster_from,
    console_for,
    write_json,
)
from flows.progress import RichReporter
from musichash_core.errors import ParameterError
from musichash_core.plain_text import escape_controls
from musichash_core.records import StageSummary

if TYPE_CHECKING:  # these load Dask or Arrow, which --help does not need
    from flows.cluster_settings import ClusterSettings
    from tasks.reindex import Reindexed, WantedIndex

STAGE = "index"
WORKERS_FROM = 2_000_000
"""Codes from which workers are started unasked: building fewer takes less than starting them."""

SIZES = {"": 1.0, "kB": 1e-3, "MB": 1.0, "GB": 1e3, "TB": 1e6}
TIMES = {"": 1.0, "us": 1e-3, "ms": 1.0, "s": 1e3}
_AMOUNT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)\s*", re.IGNORECASE)

ShowOption = Annotated[
    bool, typer.Option("--show", help="Show the index of what is published; build nothing.")
]
KindOption = Annotated[
    Literal["auto", "flat", "ivf", "multihash"] | None,
    typer.Option(
        "--kind",
        help="Build an index of this kind of what is published. flat: reads every code, exact; "
        "ivf: reads the nearest lists, for many millions; multihash: exact, quick within a few "
        "bits; auto: by size and budget.",
    ),
]
MaxMemoryOption = Annotated[
    str | None,
    typer.Option(
        "--max-memory", help="Choose an index of at most this memory, such as 500MB or 2GB."
    ),
]
MaxLatencyOption = Annotated[
    str | None,
    typer.Option(
        "--max-latency", help="Choose one that answers on one thread within this, such as 5ms."
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Say which index would be built of what is published; change nothing."
    ),
]


class AmountError(ParameterError):
    """An amount of memory or time cannot be read."""

    is_wrong_input = True


def add_to(app: typer.Typer) -> None:
    """Register the subcommand."""
    app.command(rich_help_panel="Upkeep")(reindex)


def index_by_hand(
    kind: str | None,
    max_memory: str | None,
    max_latency: str | None,
    *,
    config: Path | None = None,
) -> "WantedIndex":
    """Read which index is asked for by options, and by a configuration where one is named.

    Raises
    ------
    AmountError
        If an amount cannot be read.
    """
    from tasks.reindex import WantedIndex

    settings = None
    if config is not None:
        from musichash_core.config import load_config

        settings = load_config(config).index
    return WantedIndex(
        config=settings,
        kind=kind,
        max_memory_mb=_amount("--max-memory", max_memory, SIZES, "500MB or 2GB"),
        max_latency_ms=_amount("--max-latency", max_latency, TIMES, "5ms or 0.5s"),
    )


def reindex(
    store: StoreOption,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    workers: WorkersOption = None,
    worker_memory: WorkerMemoryOption = None,
    scheduler: SchedulerOption = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build the index anew from the published codes table alone, and publish it if it differs.

    What was added and what died since it was built last goes into one base. A damaged index of
    which nothing changed comes back to the byte, and the snapshot stays. Large indexes are built in
    shards on workers; the result does not depend on how many.

    [bold]Examples:[/bold]
    musichash reindex --store ~/music.store
    musichash reindex --store ~/music.store --workers 8
    """
    wanted = index_by_hand(None, None, None, config=config)
    if dry_run:
        preview_index(store, wanted, as_json=as_json)
        return
    asked = _asked_workers(workers, worker_memory, scheduler, cluster)
    publish_index(store, wanted, asked, as_json=as_json)


def _amount(option: str, text: str | None, units: dict[str, float], such_as: str) -> float | None:
    """Read an amount with its unit; without one it is in MB or ms."""
    if text is None:
        return None
    match = _AMOUNT.fullmatch(text)
    factors = {unit.lower(): factor for unit, factor in units.items()}
    value = 0.0
    if match is not None and match[2].lower() in factors:
        value = float(match[1]) * factors[match[2].lower()]
    if value <= 0:
        raise AmountError(
            f"{option} {text!r} is no amount above 0 in {', '.join(filter(None, units))}; give one "
            f"such as {such_as}"
        )
    return value


def _asked_workers(
    workers: int | None, worker_memory: int | None, scheduler: str | None, cluster: Path | None
) -> "ClusterSettings | None":
    """Give the workers that are asked for; None where none are."""
    if (workers, worker_memory, scheduler, cluster) == (None, None, None, None):
        return None
    return cluster_from(workers, worker_memory, scheduler, cluster)


# --- building ---


def publish_index(
    store: str,
    wanted: "WantedIndex",
    asked: "ClusterSettings | None" = None,
    *,
    as_json: bool = False,
) -> None:
    """Build an index of what is published within a run of its own, and say what came of it.

    Parameters
    ----------
    asked : ClusterSettings, optional
        Workers that are to build its lists; without any, a large one is built by one per CPU.
    """
    from tasks.ledger import begin_run
    from tasks.reindex import preview_index as plan_index
    from tasks.reindex import reindex as build_anew

    root = str(Path(store).absolute())  # workers may stand in another folder
    plan_index(root, wanted)  # what cannot be is refused before there is a run to fail
    reporter = RichReporter(console_for(as_json=as_json))
    with begin_run(root, kind="reindex") as opened, ExitStack() as stack:
        planned = plan_index(root, wanted)
        reporter.say(f"{STAGE}: {planned['n_codes']:,} codes; {planned['why']}")
        started, cpu = time.monotonic(), time.process_time()
        options: dict[str, Any] = {}
        if planned["kind"] == "ivf" and (asked is not None or planned["n_codes"] >= WORKERS_FROM):
            from flows.cluster import Workers
            from flows.index_shards import shard_builder

            where = asked or cluster_from(None, None, None, None)
            pool = stack.enter_context(Workers(where, folders=[root]))
            options["builder"] = shard_builder(root, planned["snapshot"], pool, reporter)
        done = build_anew(root, opened.record, wanted, **options)
        summary = StageSummary(
            STAGE,
            n_reused=done.record.reused,
            n_failed=done.record.failed + done.record.quarantined,
            wall_s=time.monotonic() - started,
            cpu_s=time.process_time() - cpu,
        )
        opened.record = replace(
            done.record,
            cpu_s=done.record.cpu_s + summary.cpu_s,
            stages=done.record.stages | {STAGE: summary.numbers},
        )
    _conclude(root, done, as_json=as_json)


def _conclude(store: str, done: "Reindexed", *, as_json: bool) -> None:
    if as_json:
        from tasks.reindex import describe_index

        content = {"is_new": done.is_new, "mended": list(done.mended)}
        write_json(content | describe_index(store))
        return
    number = done.snapshot.number
    if done.is_new:
        typer.echo(f"snapshot {number} is published; its tables are those of the one before")
    elif done.mended:
        typer.echo(f"snapshot {number} stays; mended to the byte: {', '.join(done.mended)}")
    else:
        typer.echo(f"snapshot {number} stays: its index is what is built from its codes")
    show_index(store, as_json=False)


# --- showing ---


def preview_index(store: str, wanted: "WantedIndex", *, as_json: bool) -> None:
    """Say which index would be built of what is published."""
    from tasks.reindex import preview_index as plan_index

    planned = plan_index(store, wanted)
    if as_json:
        write_json(planned)
        return
    typer.echo(
        f"snapshot {planned['snapshot']} has {planned['n_codes']:,} codes of {planned['n_bits']} "
        f"bits; its index is {planned['before'] or 'not to be read'}"
    )
    typer.echo(f"would be built: {planned['why']}")
    typer.echo("dry run: nothing was written")


def show_index(store: str, *, as_json: bool) -> None:
    """Show the index of what is published, and how quickly it answers now."""
    from tasks.reindex import describe_index

    found = describe_index(store)
    if as_json:
        write_json(found)
        return
    for line in _lines(found):
        typer.echo(escape_controls(line))


def _recall(found: dict[str, Any]) -> str:
    """Say what was found of the truth, if anybody looked: no version before did."""
    if not found["n_codes"]:
        return "there is nothing to find"
    if not found["recall_queries"]:
        return "not measured when it was built; 'musichash reindex' builds it anew"
    share = found["distance_recall_at_10"]
    return f"{share:.4f} of the nearest distances, {found['recall_queries']} queries when built"


def _lines(found: dict[str, Any]) -> list[str]:
    segments, latency = found["segments"], found["latency"]
    parameters = found["parameters"] | (
        {"n_probed": found["n_probed"]} if found["n_probed"] is not None else {}
    )
    shown = ", ".join(f"{name} {value}" for name, value in parameters.items())
    by = "a command" if found["settings"]["set_by_command"] else "the configuration, or default"
    return [
        f"index of snapshot {found['snapshot']}: {found['kind']}, {found['n_codes']:,} codes of "
        f"{found['n_bits']} bits, {found['n_bytes'] / 1e6:.1f} MB",
        f"  why         {found['why']}",
        f"  settings    by {by}; min_distance_recall {found['settings']['min_distance_recall']}",
        f"  parameters  {shown or '-'}",
        f"  recall@10   {_recall(found)}",
        f"  latency     {latency['latency_ms_median']:.3f} ms in the middle, "
        f"{latency['latency_ms_p95']:.3f} ms for 95 % of {latency['n_queries']} queries, now",
        f"  segments    base {segments['base']:,}, added since {segments['delta']:,}, died since "
        f"{segments['died']:,}: {found['changed_share']:.2%} changed, rebuilt beyond "
        f"{found['compact_share']:.0%}",
        f"  files       {' '.join(found['files'])}",
    ]
