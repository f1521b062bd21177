"""Sentences and tables that tell the operator what a stage found, did or will do.

Public: `describe_passed_by`, `describe_plan`, `plan_tables`, `describe_seconds`,
`describe_training`, `describe_default_in_use`.
"""

from rich.box import SIMPLE_HEAD
from rich.table import Table

from musichash_core.plain_text import escape_controls
from tasks.default_model import MIN_LABELS
from tasks.estimates import Estimate, StageEstimate
from tasks.plan import Plan
from tasks.scan import Found
from tasks.train import TrainedGeneration

_NAMED_COLUMNS = 5


def describe_passed_by(found: Found) -> str:
    """Say what a scan left aside: files of other kinds, or columns of a manifest."""
    if not found.passed_by:
        return f"{found.n_ignored} of other kinds passed by"
    named = ", ".join(repr(name[:40]) for name in found.passed_by[:_NAMED_COLUMNS])
    dots = " ..." if len(found.passed_by) > _NAMED_COLUMNS else ""
    return escape_controls(
        f"{len(found.passed_by)} column(s) of the manifest passed by: {named}{dots}"
    )


def describe_plan(plan: Plan) -> str:
    """Put a plan into one line."""
    work = (
        f"{plan.n_new} new, {plan.n_changed} changed, {plan.n_retried} to retry: about "
        f"{plan.estimated_s / 60:.0f} minutes of audio in {len(plan.partitions)} partitions"
        if plan.n_to_extract
        else "nothing new to decode"
    )
    model = (
        "; no model and fewer than two labels to train one: the shipped default model will be used"
        if plan.installs_default
        else ""
    )
    return (
        f"{work}; {plan.n_reused} reused, {plan.n_kept_failed} failed before, "
        f"{plan.changes.n_moved} moved, {_describe_removed(plan)}, "
        f"{plan.n_duplicates} duplicate files{model}; {_describe_eta(plan.estimate)}"
    )


def _describe_removed(plan: Plan) -> str:
    replaced = plan.changes.n_replaced
    return f"{plan.n_removed} removed" + (f" ({replaced} by changed files)" if replaced else "")


def _describe_eta(estimate: Estimate) -> str:
    workers = f"{estimate.n_workers} worker" + ("s" if estimate.n_workers > 1 else "")
    guesses = f" ({_describe_guesses(estimate)})" if estimate.guessed_stages else ""
    return f"done in about {describe_seconds(estimate.eta_s)} on {workers}{guesses}"


def _describe_guesses(estimate: Estimate) -> str:
    return f"a guess for {', '.join(estimate.guessed_stages)}: not measured in this store yet"


def describe_seconds(seconds: float) -> str:
    """Write a length of time in the unit that suits it."""
    for limit, size, unit in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}" if unit == "h" else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.1f} days"


def _describe_bytes(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return (
                f"{n_bytes:.0f} {unit}"
                if n_bytes >= 100 or unit == "B"
                else f"{n_bytes:.1f} {unit}"
            )
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def plan_tables(plan: Plan) -> tuple[Table, Table]:
    """Give what is in the catalogue, and what each stage will do at what rate, as tables."""
    return _tracks_table(plan), _stages_table(plan.estimate)


def _tracks_table(plan: Plan) -> Table:
    table = Table(title=f"{plan.n_seen} tracks seen", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("what")
    table.add_column("tracks", justify="right")
    table.add_column("what it is, and what a run does")
    changes = plan.changes
    for name, number, meaning in (
        ("new", plan.n_new, "bytes never met: extract"),
        ("changed", plan.n_changed, "other bytes at a published place: extract"),
        ("to retry", plan.n_retried, "failed before, may succeed now: extract again"),
        ("reused", plan.n_reused, "have features: nothing is decoded"),
        ("failed before", plan.n_kept_failed, "stay failed; --retry-failed tries them again"),
        ("unreadable", plan.n_unreadable, "files that the scan could not read"),
        (
            "removed",
            plan.n_removed,
            f"leave the tables; {changes.n_replaced} of them replaced by changed files",
        ),
        ("moved", changes.n_moved, "of the above: known bytes at other places only"),
        ("relabelled", changes.n_relabelled, "of the above: another label, nothing is decoded"),
        ("duplicates", plan.n_duplicates, "further files of the same bytes"),
    ):
        table.add_row(name, str(number), meaning)
    return table


def _stages_table(estimate: Estimate) -> Table:
    workers = f"{estimate.n_workers} worker" + ("s" if estimate.n_workers > 1 else "")
    title = f"about {describe_seconds(estimate.eta_s)} on {workers}"
    table = Table(title=title, title_justify="left", show_footer=True, box=SIMPLE_HEAD)
    table.add_column("stage", footer="run")
    table.add_column("tracks", justify="right")
    table.add_column("audio", justify="right", footer=_hours(estimate.stages[0].audio_s))
    table.add_column("rate per core second", justify="right")
    table.add_column("core time", justify="right", footer=_hours(estimate.core_s))
    table.add_column("GPU time", justify="right", footer=_hours(estimate.gpu_s))
    table.add_column("writes", justify="right", footer=_describe_bytes(estimate.n_bytes))
    table.add_column("by the clock", justify="right", footer=describe_seconds(estimate.eta_s))
    table.add_column("rate is")
    for stage in estimate.stages:
        if stage.wall_s:
            table.add_row(*_stage_row(stage))
    table.add_row("start", "", "", "", "", "", "", describe_seconds(estimate.start_s), "a guess")
    return table


def _stage_row(stage: StageEstimate) -> tuple[str, ...]:
    runs = stage.rate.n_runs
    speed = stage.units_per_core_s
    unit = "s of audio" if stage.rate.unit == "audio_s" else "tracks"
    return (
        stage.stage,
        str(stage.n_tracks),
        _hours(stage.audio_s) if stage.audio_s else "",
        f"{speed:.{0 if speed >= 10 else 2}f} {unit}" if speed else "",
        _hours(stage.core_s),
        _hours(stage.gpu_s),
        _describe_bytes(stage.n_bytes),
        describe_seconds(stage.wall_s),
        f"measured, {runs} run{'s' if runs > 1 else ''}" if runs else "a guess",
    )


def _hours(seconds: float) -> str:
    """Write hours, and what is less than a hundredth of one in seconds."""
    return f"{seconds:.0f} s" if seconds < 36 else f"{seconds / 3600:.2f} h"


def describe_default_in_use(plan: Plan) -> str:
    """Add to the sentence that names the model in use that it is the shipped one."""
    labels = (
        f"; --retrain trains one on the catalogue's {plan.n_labels} labels"
        if plan.n_labels >= MIN_LABELS
        else ""
    )
    return f" (the shipped default model{labels})"


def describe_training(trained: TrainedGeneration, wall_s: float) -> str:
    """Put the result of a training into one line."""
    account = trained.summary
    if not trained.n_tracks:
        return (
            f"fewer than two labels to train with, so the shipped default model is used, as model "
            f"{trained.generation}; its genres and codes are of other music than this catalogue: "
            "with labels, --retrain trains one on it"
        )
    sentence = (
        f"model {trained.generation} from {trained.n_tracks} tracks of "
        f"{len(account['genres'])} genres in {wall_s:.1f} s"
    )
    if account["validation_accuracy"] is not None:
        sentence += (
            f"; on {len(account['validation_track_ids'])} held-out tracks: genre accuracy "
            f"{account['validation_accuracy']:.2f} (chance {account['chance_accuracy']:.2f}), "
            f"code mAP {account['validation_map']:.2f} (chance {account['chance_map']:.2f})"
        )
    if trained.left_out:
        sentence += f"; {len(trained.left_out)} label(s) with a single track left out"
    sentence += f"; computed on {trained.device}"
    return sentence if trained.next_step is None else f"{sentence}; {trained.next_step}"
