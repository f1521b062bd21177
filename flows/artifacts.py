"""What a finished run leaves in the Prefect UI: account, failures, code health, learning curves.

Public: `account_of`, `publish_run_artifacts`.
"""

from collections import Counter
from dataclasses import asdict
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.night import Night
from tasks.health_answers import current_health
from tasks.health_table import escape_markdown, health_markdown
from tasks.report_curves import learning_curves_markdown
from tasks.status import list_failures

TOP_FAILURES = 10


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
    create_table_artifact(
        key="run-summary",
        table=[
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
        ],
        description=account["sentence"],
    )
    create_markdown_artifact(
        key="morning-report",
        markdown=_markdown(night, account, health),
        description=f"Account of run {account['run']['run_id']}",
    )
    if health is not None:
        create_markdown_artifact(
            key="code-health",
            markdown=health_markdown(health),
            description=f"Code health of snapshot {health['snapshot']}: {health['level']}",
        )
    _publish_learning_curves(night)
    return account


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


def _markdown(night: Night, account: dict[str, Any], health: dict[str, Any] | None) -> str:
    run = account["run"]
    lines = [
        f"# {account['sentence']}",
        "",
        f"seen {run['seen']} = done {run['done']} + reused {run['reused']} "
        f"+ failed {run['failed']} + quarantined {run['quarantined']} + removed {run['removed']}",
        "",
        f"{run['audio_s'] / 3600:.2f} hours of audio decoded, {run['cpu_s']:.0f} CPU seconds, "
        f"at most {run['peak_memory_bytes'] / 1e6:.0f} MB of memory per worker.",
        "",
        *_alarms(health),
    ]
    failures = list_failures(night.store)
    if not failures:
        return "\n".join([*lines, "No failures."])
    remedies = {row["code"]: row["remedy"] for row in failures}
    lines += ["| failure | tracks | remedy |", "|---|---|---|"]
    for code, count in Counter(row["code"] for row in failures).most_common(TOP_FAILURES):
        lines.append(f"| {code} | {count} | {remedies[code]} |")
    return "\n".join(lines)


def _alarms(health: dict[str, Any] | None) -> list[str]:
    """Say what is wrong with the codes, before anything else is listed."""
    return [
        f"**{finding['level']}: {escape_markdown(finding['what'])}.** "
        f"{escape_markdown(finding['remedy'])}.\n"
        for finding in ([] if health is None else health["findings"])
    ]
