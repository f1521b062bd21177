"""Options that several subcommands share, and how they write JSON.

Public: the ``...Option`` annotations, `cluster_from`, `write_json`, `console_for`,
`EXIT_WITH_FAILURES`.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from musichash_core.plain_text import escape_controls_in_json

if TYPE_CHECKING:  # it loads Dask, which --help does not need
    from flows.cluster_settings import ClusterSettings

EXIT_WITH_FAILURES = 3

StoreOption = Annotated[
    str,
    typer.Option(
        "--store", envvar="MUSICHASH_STORE", help="Folder that holds everything musichash makes."
    ),
]
CataloguesOption = Annotated[
    list[str],
    typer.Option("--catalogue", help="Folder of music files; may be given several times."),
]
MaybeCataloguesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--catalogue",
        help="Folder of music files to scan now; may be given several times. Without it, what the "
        "last recorded scan found counts.",
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file with settings that change results."),
]
LabelsOption = Annotated[
    str | None,
    typer.Option(
        "--labels",
        help="CSV, Parquet or JSON lines with the columns 'track path', 'label' and optionally "
        "'group'; without it the first folder below the catalogue is the label. 'none': folders "
        "are no labels, and a store without a model gets the shipped default one.",
    ),
]
ManifestOption = Annotated[
    str | None,
    typer.Option(
        "--manifest",
        help="CSV, Parquet or JSON lines that names the files to process: columns 'path' (below "
        "the catalogue) and optionally 'id', 'label', 'group', 'root'; without it all files below "
        "the catalogue are processed.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=1, max=1024, help="Worker processes; one per CPU by default."),
]
WorkerMemoryOption = Annotated[
    int | None,
    typer.Option("--worker-memory", min=300, help="Memory limit of a worker, MB."),
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        envvar="DASK_SCHEDULER_ADDRESS",
        help="Address of a running Dask scheduler to use instead.",
    ),
]
ClusterOption = Annotated[
    Path | None,
    typer.Option(
        "--cluster",
        envvar="MUSICHASH_CLUSTER",
        help="TOML file that describes the workers: a scheduler with certificates, SSH, "
        "Kubernetes, SLURM, or the GPUs of this machine; see deploy/clusters.",
    ),
]
RetryOption = Annotated[
    bool, typer.Option("--retry-failed", help="Try tracks again that failed for good before.")
]
ShrinkOption = Annotated[
    bool,
    typer.Option(
        "--allow-shrink",
        help="Accept that a catalogue root is left out or has lost most of its tracks.",
    ),
]

RetrainOption = Annotated[
    bool, typer.Option("--retrain", help="Train a new model although the store has one.")
]
DeviceOption = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option(
        "--device", help="Where models are trained; auto is a worker with a GPU, or this machine's."
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
]

PIPE_WIDTH = 400


def cluster_from(
    workers: int | None, worker_memory: int | None, scheduler: str | None, cluster: Path | None
) -> "ClusterSettings":
    """Read which workers are asked for; single options take precedence over the file.

    Raises
    ------
    ConfigError
        If the file, or what is asked for besides, is not allowed.
    ClusterStartError
        If the package, the certificates or the keys that it needs are not here.
    """
    from flows.cluster_needs import check_needs
    from flows.cluster_settings import read_cluster_settings

    settings = read_cluster_settings(
        cluster,
        n_workers=workers,
        worker_memory_bytes=None if worker_memory is None else worker_memory * 1_000_000,
        scheduler=scheduler,
    )
    check_needs(settings)
    return settings


def check_device_of(where: "ClusterSettings", device: str) -> None:
    """Refuse a device that is not there, before any work is done; Dask is loaded only to ask it.

    Raises
    ------
    ParameterError
        If neither this machine nor a worker has it.
    """
    if where.may_have_gpus and device == "cuda":
        from flows.training_place import check_training_device

        check_training_device(device, where)
    else:
        from tasks.train import check_device

        check_device(device)


def write_json(content: Any) -> None:  # noqa: ANN401 - any JSON value
    """Print a result as JSON on standard output."""
    text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
    typer.echo(escape_controls_in_json(text))


def console_for(*, as_json: bool) -> Console:
    """Give the console for people: standard error when standard output carries JSON."""
    console = Console(stderr=as_json)
    if not console.is_terminal:
        console.width = PIPE_WIDTH  # a file or pipe has no width of its own: cut no path
    return console
