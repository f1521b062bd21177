"""Sentences that tell the operator what a stage found or did.

Public: `describe_passed_by`, `describe_plan`, `describe_training`, `describe_default_in_use`.
"""

from musichash_core.plain_text import escape_controls
from tasks.default_model import MIN_LABELS
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
        f"{plan.n_new} new, {plan.n_retried} to retry: about {plan.estimated_s / 60:.0f} minutes "
        f"of audio in {len(plan.partitions)} partitions"
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
        f"{plan.n_removed} removed, {plan.n_duplicates} duplicate files{model}"
    )


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
    return f"{sentence}; computed on {trained.device}"
