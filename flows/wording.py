"""Sentences that tell the operator what a stage found or did.

Public: `describe_plan`, `describe_training`.
"""

from tasks.plan import Plan
from tasks.train import TrainedGeneration


def describe_plan(plan: Plan) -> str:
    """Put a plan into one line."""
    work = (
        f"{plan.n_new} new, {plan.n_retried} to retry: about {plan.estimated_s / 60:.0f} minutes "
        f"of audio in {len(plan.partitions)} partitions"
        if plan.n_to_extract
        else "nothing new to decode"
    )
    return (
        f"{work}; {plan.n_reused} reused, {plan.n_kept_failed} failed before, "
        f"{plan.n_removed} removed, {plan.n_duplicates} duplicate files"
    )


def describe_training(trained: TrainedGeneration, wall_s: float) -> str:
    """Put the result of a training into one line."""
    account = trained.summary
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
    return sentence
