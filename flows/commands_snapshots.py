"""Subcommands about the life of snapshots: ``snapshots``, ``gc``, ``reconcile``.

Public: `add_to`.
"""

from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from flows.options import ConfigOption, JsonOption, StoreOption, console_for, write_json
from musichash_core.plain_text import escape_controls

EXIT_FAILED = 1
SHOWN_PATHS = 20

DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")
]

snapshots_app = typer.Typer(
    help="List what was published, and go back to it.", no_args_is_help=True
)


def add_to(app: typer.Typer) -> None:
    """Register the subcommands."""
    snapshots_app.command("list")(list_)
    snapshots_app.command()(show)
    snapshots_app.command()(rollback)
    app.add_typer(snapshots_app, name="snapshots", rich_help_panel="Upkeep")
    for command in (gc, reconcile):
        app.command(rich_help_panel="Upkeep")(command)


def list_(store: StoreOption, as_json: JsonOption = False) -> None:
    """List the snapshots of a store, oldest first, also those that cannot be read any more.

    Two stores of the same content have the same digest. 'Own' is what removing one snapshot alone
    would free.

    [bold]Example:[/bold] musichash snapshots list --store ~/music.store
    """
    from tasks.snapshots import list_all

    found = list_all(store)
    if as_json:
        write_json(found)
        return
    console = console_for(as_json=False)
    if not found["snapshots"]:
        console.print(Text(escape_controls(f"{found['store']}: nothing published yet")))
    else:
        console.print(_list_table(found["snapshots"]))
    for row in found["snapshots"]:
        if row["problem"] is not None:
            console.print(Text(escape_controls(f"snapshot {row['number']}: {row['problem']}")))
    if found["problem"] is not None:
        console.print(Text(escape_controls(f"the current snapshot: {found['problem']}")))


def _list_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("", "snapshot", "published (UTC)", "by", "model", "features", "digest"):
        table.add_column(name, overflow="fold")
    for name in ("tracks", "codes", "failed", "MB", "own MB"):
        table.add_column(name, justify="right")
    for row in rows:
        mark = "*" if row["is_current"] else ""
        if not row["is_readable"]:
            table.add_row(mark, str(row["number"]), "cannot be read")
            continue
        counts = row["counts"]
        table.add_row(
            mark,
            str(row["number"]),
            (row["published"] or "")[:19].replace("T", " "),
            Text(escape_controls(" ".join(filter(None, (row["kind"], row["run"]))))),
            row["generation"],
            row["feature_fingerprint"],
            row["digest"][:12],
            *(str(counts.get(name, "")) for name in ("tracks", "codes", "failures")),
            f"{row['bytes'] / 1e6:.1f}",
            f"{row['bytes_of_its_own'] / 1e6:.1f}",
        )
    return table


def show(
    number: Annotated[int, typer.Argument(help="Number of the snapshot.")],
    store: StoreOption,
    as_json: JsonOption = False,
) -> None:
    """Show one snapshot: who published it, what it holds, whether its files are there.

    [bold]Example:[/bold] musichash snapshots show 17 --store ~/music.store --json
    """
    from tasks.snapshots import show as show_snapshot

    found = show_snapshot(store, number)
    if as_json:
        write_json(found)
        return
    counts = ", ".join(f"{count} {name}" for name, count in found["counts"].items())
    by = " ".join(filter(None, (found["kind"], found["run"]))) or "an unknown run"
    lines = [
        f"snapshot {number}{' (current)' if found['is_current'] else ''}: {counts}",
        f"  published   {found['published'] or 'at an unknown time'} by {by}",
        f"  digest      {found['digest']}",
        f"  model       {found['generation']}",
        f"  features    {found['feature_fingerprint']}",
        f"  bytes       {found['bytes'] / 1e6:.1f} MB, {found['bytes_of_its_own'] / 1e6:.1f} MB of "
        "them in no other snapshot",
        *(f"  {name:<11} {' '.join(paths)}" for name, paths in sorted(found["tables"].items())),
        f"  index       {found['index']}",
        *(f"  {one['path']}: {one['problem']}" for one in found["problems"]),
    ]
    for line in lines:
        typer.echo(escape_controls(line))


def rollback(
    store: StoreOption,
    number: Annotated[
        int | None,
        typer.Argument(help="Snapshot to go back to; the one before the current by default."),
    ] = None,
    with_bytes: Annotated[
        bool, typer.Option("--verify", help="Compare every byte of it with its manifest first.")
    ] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make an earlier snapshot the current one again, and its model the one in force.

    Nothing is copied or removed: readers see it at once. The next run publishes the catalogue as it
    is then, under a new number and with this model.

    [bold]Examples:[/bold]
    musichash snapshots rollback --store ~/music.store
    musichash snapshots rollback 17 --store ~/music.store --verify
    """
    from tasks.rollback import roll_back

    bar = _Bar("rollback", as_json=as_json)
    done = roll_back(
        store, number, with_bytes=with_bytes, dry_run=dry_run, on_progress=bar.on_progress
    )
    bar.close()
    if as_json:
        write_json(done | {"dry_run": dry_run})
        return
    verb = "would be" if dry_run else "is"
    counts = ", ".join(f"{count} {name}" for name, count in done["counts"].items())
    typer.echo(
        f"snapshot {done['snapshot']} {verb} the current one"
        f"{f' instead of {before}' if (before := done['before']) else ''}: {counts}; model "
        f"{done['generation']} {verb} in force"
    )
    typer.echo(
        f"the next run publishes the catalogue as it is then as snapshot {done['next_number']}, "
        f"with model {done['generation']}"
        + (
            f" and features {done['feature_fingerprint']}: give it the configuration of that time"
            if done["changes_features"]
            else ""
        )
    )


def gc(
    store: StoreOption,
    keep: Annotated[
        int, typer.Option("--keep", min=1, help="Newest snapshots that stay, beside the current.")
    ],
    with_models: Annotated[
        bool,
        typer.Option(
            "--models",
            help="Remove models too that no kept snapshot is of and that are not in force, "
            "candidates among them.",
        ),
    ] = False,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove old snapshots, and whatever then neither a snapshot nor the next run needs.

    The current snapshot stays always, and so do features of the catalogue, attempts of failures,
    what open backfills fill, models (see --models) and the ledger. Where the disk is full to the
    last byte, report.html goes first, to make room for the record; the next run writes it anew.

    [bold]Examples:[/bold]
    musichash gc --keep 7 --store ~/music.store --dry-run
    musichash gc --keep 7 --store ~/music.store
    """
    from musichash_core.config import load_config
    from tasks.garbage import collect_garbage, plan_garbage

    settings = load_config(config)
    if dry_run:
        done = plan_garbage(store, settings, keep=keep, with_models=with_models)
    else:
        bar = _Bar("gc", as_json=as_json)
        done = collect_garbage(
            store, settings, keep=keep, with_models=with_models, on_progress=bar.on_progress
        )
        bar.close()
    if as_json:
        write_json(done | {"dry_run": dry_run})
        return
    kept = ", ".join(map(str, done["kept"])) or "none"
    removed = ", ".join(map(str, done["removed"])) or "none"
    what = "would free" if dry_run else "freed"
    typer.echo(f"{what} {done['bytes'] / 1e6:.1f} MB; snapshots kept: {kept}; removed: {removed}")
    for kind, sums in sorted(done["kinds"].items()):
        typer.echo(f"  {kind:<26} {sums['count']:>7}  {sums['bytes'] / 1e6:>10.1f} MB")
    if dry_run:
        _echo_some(done["paths"])


def reconcile(
    store: StoreOption, dry_run: DryRunOption = False, as_json: JsonOption = False
) -> None:
    """Check that features, tables, codes and index agree, and rebuild what is derived.

    A damaged index or table comes back to the byte; damaged partitions are removed, and the next
    run makes them anew. Ends with exit code 1 when something could not be mended.

    [bold]Example:[/bold] musichash reconcile --store ~/music.store --dry-run
    """
    from tasks.mending import reconcile_store

    bar = _Bar("reconcile", as_json=as_json)
    done = reconcile_store(store, dry_run=dry_run, on_progress=bar.on_progress)
    bar.close()
    if as_json:
        write_json(done)
    else:
        for line in _mended_lines(done):
            typer.echo(escape_controls(line))
    raise typer.Exit(0 if done["is_mended"] else EXIT_FAILED)


def _mended_lines(done: dict[str, Any]) -> list[str]:
    would = "would be " if done["dry_run"] else ""
    lines = [f"{done['files']} files, {done['bytes'] / 1e6:.1f} MB read"]
    lines += [
        f"  {step['path']}: {step['problem']}; "
        f"{'' if step['action'] == 'not mended' else would}{step['action']}: {step['remark']}"
        for step in done["steps"]
    ]
    lines += [f"  do not agree: {sentence}" for sentence in done["disagreements"]]
    lost = done["lost"]
    if lost["n_again"]:
        lines.append(f"  {lost['n_again']} track(s) are new again: the next run extracts them")
    if lost["gone"]:
        lines.append(f"  {len(lost['gone'])} track(s) cannot be extracted again, their files are:")
        lines += [f"    {path} is gone" for path in lost["gone"][:SHOWN_PATHS]]
    if not done["steps"] and not done["disagreements"]:
        lines.append("  everything agrees, nothing to do")
    return lines


def _echo_some(paths: list[str]) -> None:
    for path in paths[:SHOWN_PATHS]:
        typer.echo(escape_controls(f"  {path}"))
    if len(paths) > SHOWN_PATHS:
        typer.echo(f"  ... and {len(paths) - SHOWN_PATHS} more: use --json")


class _Bar:
    """A progress bar that begins with the first thing done, on standard error under --json."""

    def __init__(self, stage: str, *, as_json: bool) -> None:
        from flows.progress import RichReporter

        self._stage = stage
        self._reporter = RichReporter(console_for(as_json=as_json))
        self._count = 0

    def on_progress(self, count: int, total: int) -> None:
        """Move on to a count."""
        if self._count == 0:
            self._reporter.start(self._stage, total, "things")
        self._reporter.advance(self._stage, count - self._count)
        self._count = count

    def close(self) -> None:
        """Take the bar away, if it was ever there."""
        if self._count:
            self._reporter.finish(self._stage, f"{self._count} done")
