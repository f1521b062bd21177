"""The pages that runs leave in the Prefect UI, as Markdown: of a finished run and of one cut short.

What comes out of files (paths, messages) is escaped: the UI makes links and HTML of Markdown.

Public: `headline`, `morning_report`, `unfinished_report`.
"""

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

from flows.run_words import account_sentence, place_of_stage
from flows.wording import describe_seconds
from musichash_core.plain_text import escape_controls
from tasks.health_table import escape_markdown

TOP_FAILURES = 10
MAX_EXAMPLE = 100
MAX_MESSAGE = 2_000
"""Characters of a path and of an error message that are shown."""

PREFIX = "Flow run encountered an exception: "
"""Of Prefect."""


def headline(run: dict[str, Any]) -> str:
    """Say in a few words what a run came to.

    Parameters
    ----------
    run : dict
        Its record of the ledger.
    """
    named = (
        (run["reused"], "reused"),
        (run["failed"], "failed"),
        (run["quarantined"], "quarantined"),
        (run["removed"], "removed"),
    )
    parts = [f"{count:,} {name}" for count, name in named if count]
    done = f"{run['done']:,} processed" if run["done"] else "nothing to decode"
    return f"{', '.join([done, *parts])} of {run['seen']:,} tracks"


def morning_report(
    account: dict[str, Any],
    failures: Sequence[dict[str, Any]],
    *,
    health: dict[str, Any] | None,
    report: str,
    store: str,
) -> str:
    """Put the account of a finished run on a page.

    Parameters
    ----------
    account : dict
        See `flows.artifacts.account_of`.
    failures : sequence of dict
        See `tasks.status.list_failures`.
    health : dict or None
        Of the published codes.
    report : str
        Link to the HTML report, or its path, as Markdown.
    store : str
        Store root.
    """
    run = account["run"]
    return "\n".join(
        [
            f"# {headline(run)}",
            "",
            f"**{account_sentence(run)}**",
            "",
            f"{_published(account)} {report}",
            "",
            f"{describe_seconds(run['audio_s'])} of audio decoded, "
            f"{describe_seconds(run['cpu_s'])} of CPU time, at most "
            f"{run['peak_memory_bytes'] / 1e6:.0f} MB of memory per worker.",
            "",
            *_alarms(health),
            *_failures(failures, store),
        ]
    )


def _published(account: dict[str, Any]) -> str:
    if account["snapshot"] is None:
        return "Nothing is published."
    if account["is_new_snapshot"]:
        return f"Snapshot {account['snapshot']} is published."
    return f"Nothing changed: snapshot {account['snapshot']} stays."


def _alarms(health: dict[str, Any] | None) -> list[str]:
    """Say what is wrong with the codes, before anything else is listed."""
    return [
        f"**{finding['level']}: {escape_markdown(finding['what'])}.** "
        f"{escape_markdown(finding['remedy'])}.\n"
        for finding in ([] if health is None else health["findings"])
    ]


def _failures(failures: Sequence[dict[str, Any]], store: str) -> list[str]:
    """List the commonest reasons of failure, each with a track and what to do."""
    if not failures:
        return ["No failures."]
    examples = {row["code"]: row for row in reversed(failures)}
    counts = Counter(row["code"] for row in failures)
    lines = [
        "## Failures and what to do",
        "",
        "| failure | tracks | for example | what to do |",
        "|---|--:|---|---|",
    ]
    for code, count in counts.most_common(TOP_FAILURES):
        row = examples[code]
        lines.append(
            f"| {code} | {count:,} | {_shown(row['path'], MAX_EXAMPLE)} "
            f"| {escape_markdown(row['remedy'])} |"
        )
    if len(counts) > TOP_FAILURES:
        lines.append(f"| {len(counts) - TOP_FAILURES} more reasons | | | |")
    return [*lines, "", "Every one of them:", "", *_command("failures", "--store", store)]


def unfinished_report(
    name: str,
    *,
    state: str,
    message: str,
    record: dict[str, Any] | None,
    progress: Sequence[str],
    command: Sequence[str],
) -> str:
    """Put on a page what a run that was cut short had done, and how to go on.

    Parameters
    ----------
    name : str
        Of the run.
    state, message : str
        In which it ended.
    record : dict or None
        Of the ledger; None where the run had not begun to write.
    progress : sequence of str
        How far the backfills of the store are.
    command : sequence of str
        Arguments of ``musichash`` that go on with the work.
    """
    return "\n".join(
        [
            f"# {_shown(name, MAX_EXAMPLE)}: {state.lower()}",
            "",
            _shown(message.removeprefix(PREFIX), MAX_MESSAGE) or "No reason is known.",
            "",
            "## What it had done",
            "",
            *_done(record),
            *(f"- {escape_markdown(escape_controls(line))}" for line in progress),
            "",
            "What is finished is kept, and what was published before is still served. How far the "
            "last stage came is among the artifacts of this run.",
            "",
            "## What to do",
            "",
            _advice(state),
            "",
            *_command(*command),
        ]
    )


def _done(record: dict[str, Any] | None) -> list[str]:
    if record is None:
        return ["It had not begun to write to the store."]
    lines = [f"Run {record['run_id']} of the ledger."]
    if record["snapshot"] is not None:
        lines += ["", f"It had published snapshot {record['snapshot']}."]
    if not record["stages"]:
        return [*lines, "", "No stage was finished."]
    lines += ["", "| stage | done | reused | failed | time |", "|---|--:|--:|--:|--:|"]
    for stage in sorted(record["stages"], key=place_of_stage):
        numbers = record["stages"][stage]
        lines.append(
            f"| {stage} | {numbers['n_done']:,} | {numbers['n_reused']:,} "
            f"| {numbers['n_failed']:,} | {describe_seconds(numbers['wall_s'])} |"
        )
    return lines


def _advice(state: str) -> str:
    begin = (
        "The message above says what is wrong. Once that is mended, start the run again:"
        if state == "Failed"
        else "The next run completes the work, and does nothing twice that is finished. Start it"
    )
    return f"{begin} from its deployment, or with this command (and `--config`, if it had one):"


def _command(*arguments: str) -> list[str]:
    """Show a command as a block, whatever its arguments hold."""
    text = escape_controls(shlex.join(("musichash", *arguments)))
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return [fence, text, fence]


def _shown(text: str, limit: int) -> str:
    """Write text from outside in one line of Markdown; of a long one, the end is left out."""
    plain = escape_controls(" ".join(text.split()))
    return escape_markdown(plain if len(plain) <= limit else plain[:limit] + " ...")
