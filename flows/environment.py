"""Settings of the libraries around us that must stand in the environment before they are imported.

Public: `prepare_environment`.
"""

import gc
import os

PREFECT_DEFAULTS = {
    # The embedded server needs 14 to 19 s on a small machine; Prefect gives it 20.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # Fewer, larger batches: a quarter of the server's CPU time per task run.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "500",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "200",
}

QUIET = {
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
    "DASK_LOGGING__DISTRIBUTED": "critical",
}

COLLECT_SELDOM = (50_000, 50, 50)
"""Thresholds of the garbage collector. A run imports 400,000 objects that stay; with the usual
(700, 10, 10) a quarter of that time goes into looking through them again and again."""


def prepare_environment(*, quiet: bool) -> None:
    """Set what is not set already, and let the garbage collector rest during the imports.

    Parameters
    ----------
    quiet : bool
        Whether the command line reports by itself, and the logs of Prefect and Dask would only
        repeat it.
    """
    for name, value in (PREFECT_DEFAULTS | (QUIET if quiet else {})).items():
        os.environ.setdefault(name, value)
    gc.set_threshold(*COLLECT_SELDOM)
