"""The subcommands about replicas on an object store: ``replicate``, and ``replica`` with its own.

Public: `add_to`.
"""

from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.options import JsonOption, StoreOption, console_for, write_json
from musichash_core.plain_text import escape_controls

EXIT_FAILED = 1
PANEL = "Replicas on an object store"

FromOption = Annotated[
    str,
    typer.Option("--from", envvar="MUSICHASH_REPLICA", help="The replica: s3://BUCKET/PREFIX."),
]
EndpointOption = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        help="Address of the S3-compatible service; else AWS_ENDPOINT_URL, else Amazon's.",
    ),
]
FeaturesOption = Annotated[
    bool,
    typer.Option(
        "--with-features", help="The folders of the partitions too: features, codes, receipts."
    ),
]
NumberOption = Annotated[
    int | None, typer.Option("--snapshot", min=1, help="Which snapshot; the current one.")
]

replica = typer.Typer(
    name="replica",
    help="Look at a replica, check it, roll it back, clear it, or fetch it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


def add_to(app: typer.Typer) -> None:
    """Register the subcommands."""
    app.command(rich_help_panel=PANEL)(replicate)
    replica.command("list")(list_snapshots)
    for command in (verify, rollback, gc, fetch):
        replica.command()(command)
    app.add_typer(replica, rich_help_panel=PANEL)


class _Bar:
    """Progress in megabytes, begun when the amount is known."""

    def __init__(self, stage: str, console: Console) -> None:
        from flows.progress import RichReporter

        self._reporter = RichReporter(console)
        self._stage = stage
        self._done = -1

    def advance(self, done: int, total: int) -> None:
        """Show bytes done and bytes to do."""
        if self._done < 0:
            self._reporter.start(self._stage, total // 1_000_000, "MB")
            self._done = 0
        self._reporter.advance(self._stage, done // 1_000_000 - self._done)
        self._done = done // 1_000_000

    def finish(self, sentence: str) -> None:
        """End with what it came to."""
        self._reporter.finish(self._stage, sentence)


def replicate(
    store: StoreOption,
    to: Annotated[
        str,
        typer.Option("--to", envvar="MUSICHASH_REPLICA", help="The replica: s3://BUCKET/PREFIX."),
    ],
    endpoint: EndpointOption = None,
    with_features: FeaturesOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")
    ] = False,
    mend: Annotated[
        bool,
        typer.Option("--mend", help="Read what is there, and send again what is damaged."),
    ] = False,
    allow_rollback: Annotated[
        bool,
        typer.Option("--allow-rollback", help="Publish although the replica is further on."),
    ] = False,
    adopt: Annotated[
        bool,
        typer.Option("--adopt", help="Publish although another store published there before."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Publish the current snapshot of a store to S3-compatible storage, in the same layout.

    Readers there see it when all of it is there. What is there already is not sent again; of two
    publishers at once one says that the other won. Credentials come from AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY.

    [bold]Examples:[/bold]
    musichash replicate --store ~/music.store --to s3://my-music/store
    musichash replicate --store ~/music.store --to s3://m/store --endpoint http://nas:9000 --dry-run
    """
    from tasks.replicate import plan_replication, replicate_store

    bar = _Bar("replicate", console_for(as_json=as_json))
    if dry_run:
        done = plan_replication(store, to, endpoint=endpoint, with_features=with_features)
    else:
        done = replicate_store(
            *(store, to),
            endpoint=endpoint,
            with_features=with_features,
            allow_rollback=allow_rollback,
            adopt=adopt,
            mend=mend,
            on_progress=bar.advance,
        )
    bar.finish(_describe_publish(done))
    if as_json:
        write_json(done)


def _describe_publish(done: dict[str, Any]) -> str:
    sent = f"{done['sent']} of {done['files']} files, {done['sent_bytes'] / 1e6:.1f} MB"
    if done["unchanged"]:
        return f"{done['replica']} shows snapshot {done['snapshot']} already, with all its files"
    before = "nothing" if done["before"] is None else f"snapshot {done['before']}"
    if done["dry_run"]:
        return (
            f"{done['replica']} shows {before}; snapshot {done['snapshot']} needs {sent}; nothing "
            "was sent"
        )
    return f"{done['replica']} shows snapshot {done['snapshot']}, {before} until now; sent {sent}"


def list_snapshots(
    source: FromOption, endpoint: EndpointOption = None, as_json: JsonOption = False
) -> None:
    """List the snapshots of a replica; with --json each with the digest of its content.

    A store and a replica that hold the same have the same digest.

    [bold]Example:[/bold] musichash replica list --from s3://my-music/store --json
    """
    from tasks.replicate import list_replica

    found = list_replica(source, endpoint=endpoint)
    if as_json:
        write_json(found)
        return
    table = Table(title=Text(escape_controls(source)), title_justify="left", box=SIMPLE_HEAD)
    for name in ("snapshot", "tracks", "codes", "features", "model", "digest"):
        table.add_column(name, overflow="fold")
    for row in found["snapshots"]:
        counts = row.get("counts", {})
        table.add_row(
            f"{row['snapshot']}{' (current)' if row['is_current'] else ''}",
            str(counts.get("tracks", "")),
            str(counts.get("codes", "")),
            "yes" if row["with_features"] else "no",
            Text(escape_controls(str(row.get("generation", "")))),
            Text(escape_controls(str(row.get("digest", row.get("problem"))))),
        )
    console_for(as_json=False).print(table)


def verify(
    source: FromOption,
    endpoint: EndpointOption = None,
    snapshot: NumberOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read every byte of a snapshot in a replica and compare it with its manifest.

    Ends with exit code 1 when anything is missing, changed or left over. It reads, and on most
    services pays for, the whole snapshot.

    [bold]Example:[/bold] musichash replica verify --from s3://my-music/store
    """
    from tasks.replicate import verify_replica

    bar = _Bar("verify", console_for(as_json=as_json))
    found = verify_replica(source, endpoint=endpoint, number=snapshot, on_progress=bar.advance)
    problems = found["findings"]
    bar.finish(
        f"snapshot {found['snapshot']}: {found['files']} files, {found['bytes'] / 1e6:.1f} MB; "
        + (f"{len(problems)} problem(s)" if problems else "all as published")
    )
    if as_json:
        write_json(found)
    else:
        for finding in problems:
            typer.echo(escape_controls(f"  {finding['path']}: {finding['problem']}"))
    raise typer.Exit(EXIT_FAILED if problems else 0)


def rollback(
    source: FromOption,
    endpoint: EndpointOption = None,
    snapshot: Annotated[
        int | None, typer.Option("--snapshot", min=1, help="Which one; the one before.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make an earlier snapshot of a replica the current one; all its files must be there.

    The store that publishes is not changed: its next publish makes its own snapshot current again.

    [bold]Example:[/bold] musichash replica rollback --from s3://my-music/store --snapshot 16
    """
    from tasks.replicate import roll_back_replica

    done = roll_back_replica(source, endpoint=endpoint, number=snapshot)
    _tell(
        done,
        f"{source} shows snapshot {done['snapshot']}, {done['before']} until now",
        as_json=as_json,
    )


def gc(
    source: FromOption,
    keep: Annotated[int, typer.Option("--keep", min=1, help="How many of the latest to keep.")] = 7,
    endpoint: EndpointOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be deleted, and delete nothing.")
    ] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Go on where another 'replica gc' was killed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete from a replica what its latest snapshots and its current one do not need.

    [bold]Example:[/bold] musichash replica gc --from s3://my-music/store --keep 7 --dry-run
    """
    from tasks.replicate import clear_replica

    done = clear_replica(source, keep=keep, endpoint=endpoint, dry_run=dry_run, take_over=take_over)
    verb = "would delete" if dry_run else "deleted"
    _tell(
        done,
        f"{verb} {len(done['removed'])} snapshot(s) {_numbers(done['removed'])}, "
        f"{done['n_objects']} objects, {done['n_bytes'] / 1e6:.1f} MB; "
        f"kept {_numbers(done['kept'])}",
        as_json=as_json,
    )


def _numbers(numbers: list[int]) -> str:
    return f"({', '.join(map(str, numbers))})" if numbers else "(none)"


def fetch(
    source: FromOption,
    to: Annotated[str, typer.Option("--to", help="Folder to fetch into: new, or fetched before.")],
    endpoint: EndpointOption = None,
    snapshot: NumberOption = None,
    with_features: FeaturesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch a snapshot of a replica into a folder; search, export and status read it as a store.

    Interrupted, the same command goes on. A store that was not fetched is never touched.

    [bold]Example:[/bold] musichash replica fetch --from s3://my-music/store --to ~/fetched.store
    """
    from tasks.replicate import fetch_store

    bar = _Bar("fetch", console_for(as_json=as_json))
    done = fetch_store(
        *(source, to),
        endpoint=endpoint,
        number=snapshot,
        with_features=with_features,
        on_progress=bar.advance,
    )
    bar.finish(
        f"{done['store']} shows snapshot {done['snapshot']}; received {done['received']} of "
        f"{done['files']} files, {done['received_bytes'] / 1e6:.1f} MB"
    )
    if as_json:
        write_json(done)


def _tell(done: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    if as_json:
        write_json(done)
    else:
        typer.echo(escape_controls(sentence))
