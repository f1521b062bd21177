"""What ``musichash serve`` schedules: the deployments of one store, and when its nights begin.

Public: `Timetable`, `timetable`, `next_times`, `Served`, `deployments`, `NIGHTLY_TAG`, `OUR_TAG`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flows.server_state import ServerUsageError

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.deployments.runner import RunnerDeployment

OUR_TAG = "musichash"
NIGHTLY_TAG = "nightly"
BACKFILL_TAG = "backfill"
LOCAL_ZONE = Path("/etc/localtime")
ZONES = "zoneinfo/"
N_CRON_FIELDS = 5

NIGHTLY_TEXT = """Process what is new in the catalogue and publish it.

A night that should begin while the last one still runs is skipped at once (state *Skipped*): the
next one does its work.
"""
BACKFILL_TEXT = """Fill the store with a new collection, model or feature configuration.

Give either *collection* with *catalogue*, or *model*, or *features*. Nights come first: while one
writes to the store, no partition begins. A second backfill waits for the first.
"""


@dataclass(frozen=True, slots=True)
class Timetable:
    """When nights begin.

    Attributes
    ----------
    cron : str
        Five fields, in local time.
    timezone : str
        IANA name of the place whose time counts.
    """

    cron: str
    timezone: str


def timetable(*, cron: str | None, at: str | None, timezone: str | None) -> Timetable:
    """Check when nights begin; at 02:00 of this machine's time zone by default.

    Raises
    ------
    ServerUsageError
        If both `cron` and `at` are given, or one of the three cannot be understood.
    """
    zone = timezone or _local_zone()
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ServerUsageError(
            f"--timezone {zone!r} is unknown; give a name such as Europe/Berlin or UTC"
        ) from error
    if cron is not None and at is not None:
        raise ServerUsageError("--cron and --at exclude one another; give one")
    if cron is None:
        return Timetable(_cron_of(at or "02:00"), zone)
    from prefect.client.schemas.schedules import CronSchedule

    try:
        CronSchedule(cron=cron, timezone=zone)
        is_valid = len(cron.split()) == N_CRON_FIELDS
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ServerUsageError(
            f"--cron {cron!r} is not a cron expression of five fields; '0 2 * * *' is every night "
            "at two, '0 2 * * 1-5' those that begin on working days"
        )
    return Timetable(cron, zone)


def _cron_of(at: str) -> str:
    found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", at)
    if found is None:
        raise ServerUsageError(f"--at {at!r} is not a time of day; give one such as 02:00 or 23:30")
    return f"{int(found[2])} {int(found[1])} * * *"


def _local_zone() -> str:
    """Name this machine's time zone by where its clock rules lie; UTC where that says nothing."""
    target = str(LOCAL_ZONE.resolve())
    return target.partition(ZONES)[2] or "UTC"


async def next_times(when: Timetable, n: int, start: datetime | None = None) -> list[datetime]:
    """Give the next `n` times at which a night begins, computed as the server does."""
    from prefect.server.schemas.schedules import CronSchedule

    schedule = CronSchedule(cron=when.cron, timezone=when.timezone)
    return list(await schedule.get_dates(n, start=start or datetime.now(UTC)))


@dataclass(frozen=True, slots=True)
class Served:
    """One store as it is served.

    Attributes
    ----------
    name : str
        Of both deployments.
    when : Timetable
        When its nights begin.
    nightly, backfill : dict
        Parameters of the two flows, as JSON.
    begins_now : bool
        Whether a night begins at once, beside those of the timetable.
    """

    name: str
    when: Timetable
    nightly: dict[str, Any]
    backfill: dict[str, Any]
    begins_now: bool = False


def deployments(served: Served, *, is_paused: Callable[[str], bool]) -> "list[RunnerDeployment]":
    """Describe the two deployments of a store to Prefect.

    Their flows are named by module, so that a run finds them from any folder.

    Parameters
    ----------
    served : Served
        The store.
    is_paused : callable
        Whether the operator has paused the deployment of a full name; it stays so.
    """
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.deployments.runner import RunnerDeployment
    from prefect.schedules import Cron
    from prefect.types.entrypoint import EntrypointType

    from flows.backfill import backfill
    from flows.nightly import nightly

    night = RunnerDeployment.from_flow(
        nightly,
        name=served.name,
        schedules=[Cron(served.when.cron, timezone=served.when.timezone)],
        parameters=served.nightly,
        description=NIGHTLY_TEXT,
        tags=[OUR_TAG, NIGHTLY_TAG],
        concurrency_limit=ConcurrencyLimitConfig(
            limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
        ),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    filling = RunnerDeployment.from_flow(
        backfill,
        name=served.name,
        parameters=served.backfill,
        description=BACKFILL_TEXT,
        tags=[OUR_TAG, BACKFILL_TAG],
        concurrency_limit=ConcurrencyLimitConfig(
            limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE
        ),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    for deployment, flow in ((night, nightly), (filling, backfill)):
        deployment.paused = is_paused(deployment.full_name)
        _explain(deployment, flow)
    return [night, filling]


def _explain(deployment: "RunnerDeployment", flow: "Flow[..., Any]") -> None:
    """Put a form in the place of the bare types of a flow's parameters."""
    from prefect.utilities.callables import ParameterSchema
    from pydantic import ConfigDict

    from flows.parameter_forms import explained_form

    class Form(ParameterSchema):
        """Parameters of a flow, and no others."""

        model_config = ConfigDict(extra="allow")

    bare = deployment._parameter_openapi_schema.model_dump()
    deployment._parameter_openapi_schema = Form(**explained_form(bare, flow.fn.__doc__ or ""))
