"""How Prefect's server uses its SQLite database: each transaction that writes says so at once.

Prefect begins most of them as readers. SQLite refuses such a one, at once and whatever it may wait
for, when it wants to write and somebody else has written since it began ("database is locked"): a
request is answered with 503, and an automation that was to act on an event does not. One that
begins as a writer waits for its turn. Public: `let_writers_wait`.
"""

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction


def let_writers_wait() -> None:
    """Let every transaction of this process be one that writes; a second call does nothing more.

    Readers outside of transactions, which most requests of the pages are, never wait.
    """
    from prefect.server.database.configurations import AioSqliteConfiguration

    begin = AioSqliteConfiguration.begin_transaction
    if begin.__module__ == __name__:
        return

    def begin_transaction(
        self: AioSqliteConfiguration,
        session: "AsyncSession",
        with_for_update: bool = False,
    ) -> "AbstractAsyncContextManager[AsyncSessionTransaction]":
        return begin(self, session, with_for_update=True)

    AioSqliteConfiguration.begin_transaction = begin_transaction  # type: ignore[method-assign, assignment]
