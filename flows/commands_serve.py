"""The subcommand ``serve``: nights on a schedule on one machine, with the server that they need.

Public: `add_to`.
"""

import asyncio
import os
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands_server import HomeOption, PortOption
from flows.environment import QUIET
from flows.options import (
    CataloguesOption,
    ClusterOption,
    ConfigOption,
    JsonOption,
    LabelsOption,
    ManifestOption,
    SchedulerOption,
    StoreOption,
    WorkerMemoryOption,
    WorkersOption,
    cluster_from,
    write_json,
)
from flows.server_automations import SHORTEST_SILENCE_S, SILENT_SECONDS
from flows.server_state import ServerUsageError, StateFolder
from musichash_core.plain_text import escape_controls

if TYPE_CHECKING:
    from flows.server_schedules import Served

SHOWN_TIMES = 3
NAME = re.compile(r"[^/%\s\x00-\x1f][^/%\x00-\x1f]{0,99}")


def add_to(app: typer.Typer) -> None:
    """Register the subcommand."""
    app.command(rich_help_panel="Operation")(serve)


def serve(
    catalogue: CataloguesOption,
    store: StoreOption,
    labels: LabelsOption = None,
    manifest: ManifestOption = None,
    config: ConfigOption = None,
    workers: WorkersOption = None,
    worker_memory: WorkerMemoryOption = None,
    scheduler: SchedulerOption = None,
    cluster: ClusterOption = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="HH:MM", help="Begin a night at this time; 02:00.")
    ] = None,
    cron: Annotated[
        str | None,
        typer.Option("--cron", help="Begin nights by a cron expression, such as '0 2 * * 1-5'."),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option("--timezone", help="Place whose time counts; this machine's by default."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Of the deployments; the name of the store's folder."),
    ] = None,
    notify: Annotated[
        str | None,
        typer.Option(
            "--notify",
            metavar="TYPE/NAME",
            help="Block of the server that is told of runs that failed, crashed or were skipped.",
        ),
    ] = None,
    crash_after: Annotated[
        int,
        typer.Option(
            "--crash-after",
            min=SHORTEST_SILENCE_S,
            help="Seconds without a sign of life after which a run is marked as crashed.",
        ),
    ] = SILENT_SECONDS,
    home: HomeOption = None,
    port: PortOption = 4200,
    now: Annotated[
        bool, typer.Option("--now", help="Begin the first night at once; then as scheduled.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be scheduled, and do nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run nights on a schedule on this machine, until Ctrl-C or SIGTERM.

    Starts 'musichash server' if none runs, and registers two deployments of the store there:
    [bold]nightly[/bold], on the schedule, and [bold]backfill[/bold], which the UI starts. A night
    is skipped, visibly, while the last one still runs. A run whose process dies is marked as
    crashed, and the next one completes its work.

    [bold]Examples:[/bold]
    musichash serve --catalogue ~/Music --store ~/music.store --dry-run
    musichash serve --catalogue ~/Music --store ~/music.store --now
    musichash serve --catalogue ~/Music --store ~/music.store --at 03:30 --timezone Europe/Berlin
    """
    from flows.server_schedules import Served, next_times, timetable
    from musichash_core.config import load_config
    from tasks.scan import check_catalogues

    if as_json and not dry_run:
        raise ServerUsageError("--json is of --dry-run alone: without it, serve does not end")
    check_catalogues(catalogue)
    settings = load_config(config)
    where = cluster_from(workers, worker_memory, scheduler, cluster)
    common = {
        "store": str(Path(store).absolute()),
        "config": None if config is None else settings.model_dump(mode="json"),
        "cluster": where.model_dump(mode="json", exclude_defaults=True) or None,
    }
    served = Served(
        name=_name(name, store),
        when=timetable(cron=cron, at=at, timezone=timezone),
        nightly={
            "catalogues": [str(Path(folder).absolute()) for folder in catalogue],
            "labels": labels if labels == "none" else _absolute(labels),
            "manifest": _absolute(manifest),
        }
        | common,
        backfill=common,
        begins_now=now,
    )
    if dry_run:
        times = asyncio.run(next_times(served.when, SHOWN_TIMES))
        _show(served, times, as_json=as_json)
        return
    _serve(served, StateFolder(home), port, crash_after, notify)


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).absolute())


def _name(name: str | None, store: str) -> str:
    chosen = Path(store).absolute().name if name is None else name
    if NAME.fullmatch(chosen) is None:
        raise ServerUsageError(
            f"{chosen!r} cannot name deployments (no '/', no '%', 1 to 100 characters); give "
            "another --name"
        )
    return chosen


def _show(served: "Served", times: list[datetime], *, as_json: bool) -> None:
    """Say what would be scheduled."""
    if as_json:
        write_json(
            {
                "name": served.name,
                "cron": served.when.cron,
                "timezone": served.when.timezone,
                "begins_now": served.begins_now,
                "next": [time.isoformat() for time in times],
                "nightly": served.nightly,
                "backfill": served.backfill,
            }
        )
        return
    for line in [
        f"nightly/{served.name}: '{served.when.cron}' in {served.when.timezone}, one at a time (a "
        "night that falls into the last one is skipped)",
        *(["  next    now"] if served.begins_now else []),
        *(f"  next    {time:%a %Y-%m-%d %H:%M %Z}" for time in times),
        *_parameter_lines(served.nightly),
        f"backfill/{served.name}: on demand, one at a time (a second one waits)",
        *_parameter_lines(served.backfill),
        "dry run: nothing was started or registered",
    ]:
        typer.echo(escape_controls(line))


def _parameter_lines(parameters: dict[str, Any]) -> list[str]:
    lines = []
    for key, value in parameters.items():
        if value is not None:
            shown = "as in the file" if key == "config" else value
            shown = ", ".join(shown) if isinstance(shown, list) else shown
            lines.append(f"  {key:<11} {shown}")
    return lines


def _serve(
    served: "Served", state: StateFolder, port: int, crash_after: int, notify: str | None
) -> None:
    from flows.own_server import server_for_serving
    from flows.server_runner import only_one, serve_until_signal
    from flows.server_schedules import next_times

    state.prepare()
    if os.environ.get("PREFECT_LOGGING_LEVEL") == QUIET["PREFECT_LOGGING_LEVEL"]:
        # The UI shows the log of a run, and that of serve is a service's.
        os.environ["PREFECT_LOGGING_LEVEL"] = "INFO"

    (begin,) = asyncio.run(next_times(served.when, 1))

    def ready(said: list[str]) -> None:
        for line in (
            *said,
            f"serving nightly/{served.name} ('{served.when.cron}' in {served.when.timezone}) and "
            f"backfill/{served.name}; next night {'now, then ' if served.begins_now else ''}"
            f"{begin:%a %Y-%m-%d %H:%M %Z}; Ctrl-C ends",
        ):
            typer.echo(escape_controls(line))

    with only_one(state, served.name), server_for_serving(state, port, typer.echo) as server:
        serve_until_signal(
            served,
            server,
            silent_seconds=crash_after,
            notify=notify,
            on_ready=ready,
        )
    typer.echo("serve has ended; nights are not started until it runs again")
