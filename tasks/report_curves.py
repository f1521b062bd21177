"""The learning curves of a model generation as Markdown, for the Prefect UI.

The chart lies in the text as a data URI of a PNG, the form that the UI shows; it has a light
background of its own, because the UI may be dark.

Public: `learning_curves_markdown`.
"""

from storage.generations import read_model_card
from storage.store import open_store
from tasks.report_training import training_facts

DPI = 100
LIGHT = "#ffffff"


def learning_curves_markdown(store: str, generation: str) -> str | None:
    """Put losses and metrics by epoch into a table and a chart; None where there are no epochs.

    Raises
    ------
    ArtefactMissingError
        If the store has no such generation.
    """
    facts = training_facts(read_model_card(open_store(store), generation))
    if facts is None or not facts.has_curves:
        return None
    from tasks.report_figures import learning_picture  # loads Matplotlib

    summary = facts.summary
    lines = [
        f"# Learning curves of {generation}",
        "",
        f"{facts.n_tracks - facts.n_held_out} tracks to learn from, {facts.n_held_out} held out.",
        "",
        "| network | epochs | kept | first loss | loss of the kept | held-out tracks | reached "
        "| by chance |",
        "|---|--:|--:|--:|--:|---|--:|--:|",
    ]
    stages = (
        ("genre", summary.genre_stage, summary.chance_accuracy),
        ("hash", summary.hash_stage, summary.chance_map),
    )
    for name, stage, chance in stages:
        if not stage.train_losses:
            continue
        kept = stage.best_epoch - 1
        reached = stage.validation_metrics[kept] if stage.validation_metrics else None
        lines.append(
            f"| {name} | {len(stage.train_losses)} | {stage.best_epoch} "
            f"| {stage.train_losses[0]:.3f} | {stage.train_losses[kept]:.3f} "
            f"| {stage.metric_name} | {_number(reached)} | {_number(chance)} |"
        )
    picture = learning_picture(summary, dpi=DPI, face=LIGHT)
    return "\n".join([*lines, "", f"![{picture.text}]({picture.uri})"])


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
