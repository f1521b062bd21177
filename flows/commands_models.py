"""Subcommands about model generations: ``models list``, ``compare``, ``promote``, ``rollback``.

Public: `add_to`.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.generation_tables import comparison_sentence, show_comparison, show_generations
from flows.options import (
    ClusterOption,
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
from musichash_core.plain_text import escape_controls
from musichash_core.records import StageSummary

if TYPE_CHECKING:  # these load Dask or Arrow, which --help does not need
    from flows.night import Night
    from tasks.ledger import OpenRun
    from tasks.promotion import Promoted
    from tasks.promotion_plan import PromotionPlan

DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")
]

models = typer.Typer(
    help="List, compare, promote and roll back model generations.", no_args_is_help=True
)


def add_to(app: typer.Typer) -> None:
    """Register the subcommands."""
    app.add_typer(models, name="models", rich_help_panel="Upkeep")


@models.callback()
def _group() -> None:
    """List, compare, promote and roll back model generations."""


# --- list ---


@models.command("list")
def list_(store: StoreOption, as_json: JsonOption = False) -> None:
    """Show every model generation: what it is, how good, which is in force, what is encoded.

    [bold]Example:[/bold] musichash models list --store ~/music.store
    """
    from tasks.generations import describe_generations

    found = describe_generations(store)
    if as_json:
        write_json(found)
        return
    show_generations(found)


# --- compare ---


@models.command()
def compare(
    first: Annotated[str, typer.Argument(help="A generation, or the beginning of its name.")],
    second: Annotated[str, typer.Argument(help="The other one.")],
    store: StoreOption,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Neighbours looked at.")] = 10,
    sample: Annotated[int, typer.Option("--sample", min=1, help="Tracks that are queries.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the sample.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare two model generations on the published tracks that have codes of both.

    Shows how many genres and neighbours stay, how healthy the codes are, and the tracks whose
    neighbours change most. The result is stored below work/comparisons in the store.

    [bold]Example:[/bold] musichash models compare g-1f0c g-88ab --store ~/music.store --k 20
    """
    from tasks.generation_comparison import Comparing, compare_generations

    compared = compare_generations(store, first, second, Comparing(k, sample, seed))
    if as_json:
        write_json(compared)
    else:
        show_comparison(compared)


# --- promote and roll back ---


@models.command()
def promote(
    generation: Annotated[str, typer.Argument(help="A generation, or the beginning of its name.")],
    store: StoreOption,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Publish the catalogue with the codes of another model generation, and put it in force.

    Every published track must have codes of it: 'musichash backfill --model' computes them. The
    comparison with the model before is stored. Searches see the old snapshot or the new one, whole.

    [bold]Examples:[/bold]
    musichash models promote g-88ab --store ~/music.store --dry-run
    musichash models promote g-88ab --store ~/music.store
    """
    from tasks.ledger import begin_run
    from tasks.promotion_plan import check_complete, plan_promotion

    plan = plan_promotion(store, generation)
    if dry_run:
        _preview(store, plan, as_json=as_json)
        return
    check_complete(plan)  # before there is a run to fail; it is checked again in the run
    with begin_run(store, kind="promote") as opened:
        promoted = _promote(store, opened, plan.generation)
    _conclude(promoted, plan, as_json=as_json)


@models.command()
def rollback(
    store: StoreOption,
    dry_run: DryRunOption = False,
    workers: WorkersOption = None,
    worker_memory: WorkerMemoryOption = None,
    scheduler: SchedulerOption = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the model generation back in force that was published before the present one.

    Tracks that came since then are encoded with it first. Rolled back twice, the present
    generation is in force again.

    [bold]Example:[/bold] musichash models rollback --store ~/music.store
    """
    from tasks.promotion_plan import generation_before, plan_promotion

    if dry_run:
        _preview(store, plan_promotion(store, generation_before(store)), as_json=as_json)
        return
    from flows.cluster import Workers
    from flows.night import Night
    from musichash_core.config import PipelineConfig
    from tasks.ledger import begin_run

    where = cluster_from(workers, worker_memory, scheduler, cluster)
    root = str(Path(store).absolute())  # workers may stand in another folder
    with begin_run(root, kind="rollback") as opened, Workers(where, folders=[root]) as pool:
        plan = plan_promotion(root, generation_before(root))
        night = Night(
            store=root,
            config=PipelineConfig(),  # of which nothing is read: the generation says what to do
            run=opened,
            workers=pool,
            reporter=RichReporter(console_for(as_json=as_json)),
        )
        _encode_missing(night, plan)
        promoted = _promote(root, opened, plan.generation)
    _conclude(promoted, plan, as_json=as_json)


def _promote(store: str, opened: "OpenRun", generation: str) -> "Promoted":
    """Promote within a run, and leave the account in its record."""
    from tasks.ledger import with_stage
    from tasks.promotion import promote as publish_generation

    opened.check_still_writing()
    started, cpu = time.monotonic(), time.process_time()
    promoted = publish_generation(store, opened.record, generation)
    summary = StageSummary(
        "promote",
        n_reused=promoted.record.reused,
        n_failed=promoted.record.failed + promoted.record.quarantined,
        wall_s=time.monotonic() - started,
        cpu_s=time.process_time() - cpu,
    )
    opened.record = with_stage(promoted.record, summary)
    return promoted


def _encode_missing(night: "Night", plan: "PromotionPlan") -> None:
    """Compute the codes that the generation lacks; what has no features is left to the refusal."""
    if plan.n_unextracted or not plan.to_encode:
        return
    from flows.stages import describe_stage, encode_stage

    night.feature_fingerprint = plan.feature_fingerprint
    night.generation = plan.generation
    if plan.to_describe:
        night.only = frozenset(plan.to_describe)
        describe_stage(night)
    night.only = frozenset(plan.partition_ids)
    encode_stage(night)


def _preview(store: str, plan: "PromotionPlan", *, as_json: bool) -> None:
    """Say what a promotion would do; writes nothing."""
    from tasks.promotion import preview_comparison

    n_missing = plan.n_unencoded + plan.n_unextracted
    has_codes = n_missing < plan.n_tracks and not plan.is_done
    compared = preview_comparison(store, plan) if has_codes else None
    if as_json:
        write_json(
            {
                "generation": plan.generation,
                "before": plan.before,
                "snapshot": plan.snapshot,
                "n_tracks": plan.n_tracks,
                "n_unencoded": plan.n_unencoded,
                "n_unextracted": plan.n_unextracted,
                "is_done": plan.is_done,
                "comparison": compared,
            }
        )
        return
    if plan.is_done:
        typer.echo(f"{plan.generation} is published already, as snapshot {plan.snapshot}")
    else:
        typer.echo(
            f"{plan.generation} would take the place of {plan.before}: {plan.n_tracks - n_missing} "
            f"of {plan.n_tracks} tracks have codes of it"
        )
    if compared is not None:
        show_comparison(compared)
    typer.echo("dry run: nothing was written")


def _conclude(promoted: "Promoted", plan: "PromotionPlan", *, as_json: bool) -> None:
    """Print what came of a promotion."""
    snapshot = promoted.snapshot
    if as_json:
        write_json(
            {
                "generation": snapshot.generation,
                "before": plan.before,
                "snapshot": snapshot.number,
                "digest": snapshot.digest,
                "is_new": promoted.is_new,
                "comparison": promoted.comparison,
            }
        )
    elif promoted.comparison is None:
        typer.echo(f"{snapshot.generation} is in force already, as snapshot {snapshot.number}")
    else:
        typer.echo(
            f"{snapshot.generation} is in force: snapshot {snapshot.number} with "
            f"{snapshot.counts['codes']} codes; {plan.before} was before"
        )
        typer.echo(escape_controls(comparison_sentence(promoted.comparison)))
