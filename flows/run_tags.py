"""Tags of our flow runs in the Prefect UI: whose they are, of which kind, store and catalogue.

A run that is started by a command has them from the beginning, so that the automations of the
server watch it; one that a deployment starts has the deployment's, and adds the others itself.

Public: `run_tags`, `tagged`, `tag_run`.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from uuid import UUID

from flows.server_schedules import OUR_TAG
from musichash_core.plain_text import escape_controls

MAX_CATALOGUES = 5
"""More are not told apart by tags."""


def run_tags(kind: str, store: str, catalogues: Iterable[str | None] = ()) -> tuple[str, ...]:
    """Give the tags of a run.

    Parameters
    ----------
    kind : str
        Such as ``nightly``.
    store : str
        Store root; its folder's name is a tag.
    catalogues : iterable of str or None
        Catalogue roots; likewise.
    """
    roots = [catalogue for catalogue in catalogues if catalogue][:MAX_CATALOGUES]
    return (
        *(OUR_TAG, kind, f"store:{_folder_name(store)}"),
        *dict.fromkeys(f"catalogue:{_folder_name(root)}" for root in roots),
    )


def _folder_name(path: str) -> str:
    return escape_controls(Path(path).absolute().name) or "/"


def tagged(
    kind: str, store: str, catalogues: Iterable[str | None] = ()
) -> AbstractContextManager[object]:
    """Tag the runs that begin within the context."""
    from prefect import tags

    return tags(*run_tags(kind, store, catalogues))


def tag_run(names: Sequence[str]) -> None:
    """Tag the flow run that is at work in this process, where it lacks some of the names."""
    from prefect import runtime
    from prefect.client.orchestration import get_client

    present = set(runtime.flow_run.tags)
    if present >= set(names):
        return
    with get_client(sync_client=True) as client:
        client.update_flow_run(UUID(runtime.flow_run.id), tags=sorted(present | set(names)))
