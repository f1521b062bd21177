"""What a run that failed, crashed or was cancelled leaves in the UI: an account, and advice.

Prefect calls `leave_account` in the process of the run, or, where that is gone, in the process that
started it. Public: `leave_account`.
"""

from typing import TYPE_CHECKING, Any

from flows.morning_report import unfinished_report
from flows.run_words import UNFINISHED
from musichash_core.errors import MusicHashError
from tasks.backfill_progress import list_progress
from tasks.status import list_runs

if TYPE_CHECKING:
    from prefect import Flow, State
    from prefect.client.schemas.objects import FlowRun

KEY = "unfinished-run"
NIGHTLY = "nightly"
GIVEN = ("collection", "catalogue", "model", "labels", "manifest")
"""Parameters of both flows that are options of the same name."""


def leave_account(
    flow: "Flow[..., Any]",
    flow_run: "FlowRun",
    state: "State[Any]",
) -> None:
    """Leave an artifact that says what a run had done and how to go on.

    Parameters
    ----------
    flow, flow_run, state
        As Prefect gives them to its hooks, by these names.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import ArtifactCreate

    with get_client(sync_client=True) as client:
        # Whoever started the run knows it as it was then, without the name that it gave itself.
        run = client.read_flow_run(flow_run.id)
        client.create_artifact(
            ArtifactCreate(
                key=KEY,
                type="markdown",
                data=_page(flow.name, run, state),
                description="What was done before the end, and how to go on",
                flow_run_id=run.id,
            )
        )


def _page(kind: str, run: "FlowRun", state: "State[Any]") -> str:
    store = str(run.parameters.get("store", ""))
    return unfinished_report(
        run.name,
        state=state.name or "ended",
        message=state.message or "",
        record=_record(store, run) if kind == NIGHTLY else None,
        progress=_progress(store) if kind != NIGHTLY else (),
        command=_command(kind, run.parameters),
    )


def _record(store: str, run: "FlowRun") -> dict[str, Any] | None:
    """Find the run in the ledger, if it came so far as to have a record there."""
    begun = run.start_time
    try:
        newest = next(iter(list_runs(store, limit=1)["runs"]), None)
    except (MusicHashError, OSError):  # no store, or one that is damaged: that is what it says
        return None
    if newest is None or begun is None or newest["state"] not in UNFINISHED:
        return None
    # Times of the ledger are whole seconds, as text that sorts.
    is_ours = newest["started"] >= begun.isoformat(timespec="seconds")
    return newest if is_ours and newest["kind"] == NIGHTLY else None


def _progress(store: str) -> list[str]:
    try:
        return [f"{one.state.name}: {one.sentence}" for one in list_progress(store)]
    except (MusicHashError, OSError):
        return []


def _command(kind: str, parameters: dict[str, Any]) -> list[str]:
    """Give the command that does the same; settings that came from files are not among them."""
    words = ["run" if kind == NIGHTLY else kind]
    for catalogue in parameters.get("catalogues") or ():
        words += ["--catalogue", str(catalogue)]
    for name in GIVEN:
        if parameters.get(name) is not None:
            words += [f"--{name}", str(parameters[name])]
    return [*words, "--store", str(parameters.get("store", ""))]
