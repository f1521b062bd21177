"""How the other commands find a running ``musichash server`` of the same user.

Prefect's own variables come first: where ``PREFECT_API_URL`` is set, nothing is done here.
Public: `connect_as_asked`, `connect_to`, `state_folder_asked_for`.
"""

import os
import sys
from pathlib import Path

from flows.server_automations import HEARTBEAT_SECONDS
from flows.server_state import Running, ServerError, ServerUsageError, StateFolder

ASKING_VARIABLE = "MUSICHASH_SERVER"
HOME_VARIABLE = "MUSICHASH_SERVER_HOME"
HEARTBEAT_VARIABLE = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"
YES = frozenset({"1", "on", "true", "yes"})
NO = frozenset({"", "0", "off", "false", "no"})


def state_folder_asked_for() -> StateFolder:
    """Give the state folder that the environment names, or the user's own."""
    home = os.environ.get(HOME_VARIABLE)
    return StateFolder(Path(home) if home else None)


def connect_as_asked() -> None:
    """Let Prefect use the running server, if the environment asks for it.

    Raises
    ------
    ServerError
        If it asks for one and none runs.
    """
    if os.environ.get("PREFECT_API_URL"):
        _give_signs_of_life()
        return
    asked = os.environ.get(ASKING_VARIABLE, "").lower()
    if asked in NO:
        return
    if asked not in YES:
        raise ServerUsageError(
            f"{ASKING_VARIABLE}={asked!r} is neither 'on' nor 'off'; 'on' lets commands use the "
            "server that 'musichash server' started"
        )
    state = state_folder_asked_for()
    running = state.running()
    if running is None:
        raise ServerError(
            f"{ASKING_VARIABLE} asks for a running server, and none of the state folder "
            f"{state.path} answers; start one with 'musichash server', or unset {ASKING_VARIABLE} "
            "to use the server within the command"
        )
    connect_to(running, state)


def connect_to(running: Running, state: StateFolder) -> None:
    """Let Prefect in this process, and in those that it starts, use a server."""
    os.environ["PREFECT_API_URL"] = running.api_url
    os.environ["PREFECT_API_AUTH_STRING"] = state.secret()
    os.environ[HOME_VARIABLE] = str(state.path)  # where a run makes its report known
    _give_signs_of_life()


def _give_signs_of_life() -> None:
    """Let runs of this process tell the server that they live, so that it sees when they do not."""
    os.environ.setdefault(HEARTBEAT_VARIABLE, str(HEARTBEAT_SECONDS))
    if "prefect.context" in sys.modules:  # it read the environment when it was imported
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()
