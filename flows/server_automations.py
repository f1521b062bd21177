"""What the Prefect server does by itself about runs that fall silent, fail or are skipped.

Public: `ensure_automations`, `SILENT_SECONDS`, `HEARTBEAT_SECONDS`, `SKIPPED_STATE`.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from flows.server_schedules import OUR_TAG
from flows.server_state import ServerUsageError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.schemas.automations import AutomationCore, EventTrigger

HEARTBEAT_SECONDS = 30
SILENT_SECONDS = 180
SHORTEST_SILENCE_S = 60

CRASHED_NAME = "musichash: a run that fell silent has crashed"
SKIPPED_NAME = "musichash: a night that falls into the last one is skipped"
REPORTED_NAME = "musichash: a run failed, crashed or was skipped"

SKIPPED_STATE = "Skipped"
SKIPPED_MESSAGE = "the last night was still at work; the next one does what is new since then"
LIMIT_MESSAGE = "Deployment concurrency limit reached."
"""With which Prefect cancels a run that begins while another one of its deployment is at work."""

_RUN = "prefect.flow-run."
_ENDS = ("Completed", "Failed", "Cancelled", "Crashed", "TimedOut")
_SIGNS_OF_LIFE = ("heartbeat", "Pending", "Running")
_WAITS = ("Scheduled", "Paused", "Suspended", "AwaitingRetry", "Cancelling")
_REPORTED = ("Failed", "Crashed", "TimedOut", "Cancelled")

_OUR_RUNS = {
    "prefect.resource.role": "tag",
    "prefect.resource.id": f"prefect.tag.{OUR_TAG}",
}


def ensure_automations(
    client: "SyncPrefectClient", *, silent_seconds: int | None = None, notify: str | None = None
) -> list[str]:
    """Create the automations, or bring them up to date; a second call changes nothing.

    One that is as it should be is left alone, because replacing it would forget the runs that it
    watches; one that the operator has switched off stays off.

    Parameters
    ----------
    client : SyncPrefectClient
        Of the server.
    silent_seconds : int, optional
        After which a run without a heartbeat is held to have crashed; without it that stays as it
        is, at first `SILENT_SECONDS`.
    notify : str, optional
        Block to notify, ``type/name``; without one it stays as it is, at first in the server's
        event feed alone.

    Returns
    -------
    list of str
        What was created or changed, as sentences.

    Raises
    ------
    ServerUsageError
        If there is no such block.
    """
    said = []
    wanted_ones = (
        _crashed(SILENT_SECONDS if silent_seconds is None else silent_seconds),
        _skipped(),
        _reported(client, notify),
    )
    for wanted in wanted_ones:
        existing = client.read_automations_by_name(wanted.name)
        if not existing:
            client.create_automation(wanted)
            said.append(f"automation created: {wanted.name}")
            continue
        first = existing[0]
        wanted.enabled = first.enabled
        if wanted.name == REPORTED_NAME and notify is None:
            wanted.actions = first.actions  # another store's serve, or the operator, chose them
        if wanted.name == CRASHED_NAME and silent_seconds is None:
            continue  # the same, of the seconds
        if _content(first) != _content(wanted):
            client.update_automation(first.id, wanted)
            said.append(f"automation brought up to date: {wanted.name}")
    return said


def _content(automation: "AutomationCore") -> object:
    """Give what an automation says, without what the server adds to it."""
    content = automation.model_dump(
        mode="json", include={"name", "description", "enabled", "trigger", "actions"}
    )
    for listed in ("after", "expect"):  # sets: their order is nobody's
        content["trigger"][listed] = sorted(content["trigger"][listed])
    content["trigger"].pop("id", None)
    return content


def _crashed(silent_seconds: int) -> "AutomationCore":
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    return AutomationCore(
        name=CRASHED_NAME,
        description=f"Runs give a sign of life every {HEARTBEAT_SECONDS} s. One that does not for "
        f"{silent_seconds} s, because its process or its machine died, is marked as crashed, so "
        "that the next one may begin.",
        trigger=EventTrigger(
            after={f"{_RUN}{name}" for name in _SIGNS_OF_LIFE},
            expect={f"{_RUN}{name}" for name in (*_SIGNS_OF_LIFE[::2], *_ENDS, *_WAITS)},
            match=ResourceSpecification({"prefect.resource.id": f"{_RUN}*"}),
            match_related=ResourceSpecification(dict(_OUR_RUNS)),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=silent_seconds),
        ),
        actions=[
            ChangeFlowRunState(
                name=None,
                state=StateType.CRASHED,
                message=f"no sign of life for {silent_seconds} s: its process or machine died; "
                "what it finished is kept, the next run completes the work",
            )
        ],
    )


def _at_once(states: Iterable[str], and_has: Mapping[str, str] | None = None) -> "EventTrigger":
    """Fire for each run of ours that enters one of some states, with what else it must have."""
    from prefect.events.schemas.automations import EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    return EventTrigger(
        expect={f"{_RUN}{name}" for name in states},
        match=ResourceSpecification({"prefect.resource.id": f"{_RUN}*", **(and_has or {})}),
        match_related=ResourceSpecification(dict(_OUR_RUNS)),
        for_each={"prefect.resource.id"},
        posture=Posture.Reactive,
        threshold=1,
        within=timedelta(0),
    )


def _skipped() -> "AutomationCore":
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore

    return AutomationCore(
        name=SKIPPED_NAME,
        description="Prefect cancels a night that would overlap with the last one; this gives it a "
        f"state that says so, {SKIPPED_STATE}.",
        trigger=_at_once({"Cancelled"}, {"prefect.state-message": LIMIT_MESSAGE}),
        actions=[
            ChangeFlowRunState(
                name=SKIPPED_STATE,
                state=StateType.CANCELLED,
                message=SKIPPED_MESSAGE,
                force=True,  # it is cancelled already
            )
        ],
    )


def _reported(client: "SyncPrefectClient", notify: str | None) -> "AutomationCore":
    from prefect.events.actions import DoNothing, SendNotification
    from prefect.events.schemas.automations import AutomationCore

    return AutomationCore(
        name=REPORTED_NAME,
        description="Notifies the block that 'musichash serve --notify' names; without one, the "
        "event feed says that this was triggered.",
        trigger=_at_once(_REPORTED),
        actions=[
            DoNothing()
            if notify is None
            else SendNotification(
                block_document_id=_block(client, notify),
                subject="musichash: {{ flow_run.name }} {{ flow_run.state.name }}",
                body="{{ flow_run.state.message }}\n\n{{ flow_run|ui_url }}",
            )
        ],
    )


def _block(client: "SyncPrefectClient", slug: str) -> UUID:
    """Find the block that is notified."""
    from prefect.exceptions import ObjectNotFound

    kind, _, name = slug.partition("/")
    try:
        return client.read_block_document_by_name(name or "-", kind).id
    except ObjectNotFound as error:
        raise ServerUsageError(
            f"--notify {slug!r} is no block of the server; create one on the page Blocks of the UI "
            "(Slack, e-mail, webhook ...) and name it as TYPE/NAME, such as slack-webhook/night"
        ) from error
