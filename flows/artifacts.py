"""What a finished run leaves in the Prefect UI: account, failures, code health, learning curves.

Public: `account_of`, `publish_run_artifacts`.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from flows.morning_report import headline, morning_report
from flows.night import Night
from flows.run_words import account_sentence
from flows.server_reports import REPORT_FILE, report_link
from musichash_core.plain_text import escape_controls
from tasks.health_answers import current_health
from tasks.health_table import escape_markdown, health_markdown
from tasks.report_curves import learning_curves_markdown
from tasks.status import list_failures


def account_of(night: Night) -> dict[str, Any]:
    """Put a finished run into numbers, as JSON."""
    record = night.run.record
    snapshot = night.published.snapshot if night.published is not None else None
    return {
        "sentence": (
            f"{record.done} done, {record.reused} reused, {record.failed} failed, "
            f"{record.quarantined} quarantined, {record.removed} removed of {record.seen} seen; "
            f"snapshot {record.snapshot}"
        ),
        "run": asdict(record),
        "snapshot": snapshot.number if snapshot is not None else None,
        "is_new_snapshot": bool(night.published is not None and night.published.is_new),
        "stages": [asdict(summary) for summary in night.summaries],
    }


def publish_run_artifacts(night: Night) -> dict[str, Any]:
    """Create the summary table, the morning report, the health of the codes, and learning curves.

    Returns
    -------
    dict
        The account, see `account_of`, and ``health``: what was found of the codes.
    """
    account = account_of(night)
    health = current_health(night.store)
    if health is not None:
        account["health"] = {name: health[name] for name in ("level", "sentence", "findings")}
        for finding in health["findings"]:
            night.reporter.say(
                f"{finding['level']}: {finding['what']} ('musichash health' tells what to do)"
            )
    run = account["run"]
    # The cards of a run's page show the first words of a description.
    create_table_artifact(
        key="run-summary",
        table=_stages_table(account),
        description=f"{headline(run)}; {account_sentence(run)}; snapshot {run['snapshot']}",
    )
    create_markdown_artifact(
        key="morning-report",
        markdown=morning_report(
            account,
            list_failures(night.store),
            health=health,
            report=_publish_link(night, account),
            store=night.store,
        ),
        description=f"{headline(run)}; run {run['run_id']}",
    )
    if health is not None:
        create_markdown_artifact(
            key="code-health",
            markdown=health_markdown(health),
            description=f"Code health of snapshot {health['snapshot']}: {health['level']}",
        )
    _publish_learning_curves(night)
    return account


def _stages_table(account: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "stage": stage["stage"],
            "done": stage["n_done"],
            "reused": stage["n_reused"],
            "failed": stage["n_failed"],
            "seconds": round(stage["wall_s"], 1),
            "CPU seconds": round(stage["cpu_s"], 1),
            "MB written": round(stage["n_bytes"] / 1e6, 1),
        }
        for stage in account["stages"]
    ]


def _publish_link(night: Night, account: dict[str, Any]) -> str:
    """Link to the HTML report where a browser can open it; give the link, or else its path."""
    path = escape_markdown(escape_controls(str(Path(night.store) / REPORT_FILE)))
    link = report_link(night.store)
    if link is None:
        return f"The HTML report is the file {path}."
    create_link_artifact(
        key="html-report",
        link=link,
        link_text="Open the HTML report",
        description=f"Of snapshot {account['snapshot']}: the file {path}",
    )
    return f"[Open the HTML report]({link}), which is the file {path}."


def _publish_learning_curves(night: Night) -> None:
    """Show how the training of this run went, if it trained in epochs."""
    has_trained = any(one.stage == "train" and one.n_done for one in night.summaries)
    if not has_trained or night.plan is None or night.plan.generation is None:
        return
    generation = night.plan.generation
    curves = learning_curves_markdown(night.store, generation)
    if curves is not None:
        create_markdown_artifact(
            key="learning-curves",
            markdown=curves,
            description=f"Loss and metric by epoch of model {generation}",
        )
