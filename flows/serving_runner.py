"""Prefect's runner as ``musichash serve`` needs it; imports Prefect.

Public: `ServingRunner`.
"""

import asyncio
import os
import signal
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from prefect.runner import Runner

from flows.server_process import LOOK_AGAIN_S, answers
from flows.server_schedules import NIGHTLY_TAG

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

STOPPED = "musichash serve was ended; what this run finished is kept, the next one goes on"


class ServingRunner(Runner):
    """A runner that ends in order at SIGINT too, and says why its runs ended or did not begin."""

    async def __aenter__(self) -> Self:
        entered = await super().__aenter__()
        begin = self._state_proposer.propose_pending

        async def propose_pending(flow_run: "FlowRun") -> bool:
            may_begin = await begin(flow_run)
            if not may_begin:
                await self._name_if_skipped(flow_run)
            return may_begin

        self._state_proposer.propose_pending = propose_pending  # type: ignore[method-assign]
        return entered

    async def _name_if_skipped(self, flow_run: "FlowRun") -> None:
        """Name a night that was skipped nearly as it would have named itself when it began."""
        run = await self._client.read_flow_run(flow_run.id)
        if run.state is None or not run.state.is_cancelled() or NIGHTLY_TAG not in run.tags:
            return
        catalogues = run.parameters.get("catalogues") or ["?"]
        begun = run.expected_start_time or datetime.now(UTC)
        await self._client.update_flow_run(
            run.id, name=f"nightly {Path(catalogues[0]).name} {begun:%Y-%m-%d} (skipped)"
        )

    async def start(self, run_once: bool = False, webserver: bool | None = None) -> None:
        """Run until a signal ends it."""
        self._asked = asyncio.get_running_loop()
        signal.signal(signal.SIGINT, self.handle_sigterm)
        await super().start(run_once, webserver)

    def handle_sigterm(self, *_: object, **__: object) -> None:
        """End in order, at either signal."""
        self._asked.call_soon_threadsafe(self._end_soon)

    def _end_soon(self) -> None:
        self._ending = asyncio.create_task(self._end_once_started())

    async def _end_once_started(self) -> None:
        while not (self.started or self.stopping):
            await asyncio.sleep(LOOK_AGAIN_S)
        if self.started:
            await self.astop()

    async def cancel_all(self) -> None:
        """Cancel the runs at work, with the reason; end them where no server is told it."""
        if await asyncio.to_thread(answers, os.environ["PREFECT_API_URL"].rstrip("/")):
            await self._cancellation_manager.cancel_all(STOPPED)
            return
        for flow_run_id in self._process_manager.flow_run_ids():
            handle = self._process_manager.get(flow_run_id)
            if handle is not None:
                with suppress(ProcessLookupError):
                    handle.hard_kill()  # left to itself it asks for the server for a minute
