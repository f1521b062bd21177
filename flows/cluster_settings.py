"""Where the work of a run is done: on this machine, or on a cluster that is described in a file.

None of it changes results. Public: `ClusterSettings`, `TlsFiles`, `SSHHosts`, `KubernetesPods`,
`SlurmJobs`, `read_cluster_settings`.
"""

import ipaddress
import tomllib
from pathlib import Path
from typing import Any, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from musichash_core.errors import ConfigError

_FROZEN = ConfigDict(frozen=True, extra="forbid")


class TlsFiles(BaseModel):
    """Certificates of this process and of the workers that it starts; they prove both sides."""

    model_config = _FROZEN

    ca_file: Path = Field(description="PEM file of the authority that both sides trust")
    cert_file: Path = Field(description="PEM file of the own certificate")
    key_file: Path = Field(description="PEM file of its key, readable by its owner alone")


class SSHHosts(BaseModel):
    """Machines that are reached by SSH; the first runs the scheduler. Extra: musichash[ssh]."""

    model_config = _FROZEN

    hosts: tuple[str, ...] = Field(min_length=2, description="scheduler first, then the workers'")
    workers_per_host: int = Field(default=1, ge=1, le=256, description="worker processes on each")
    port: int = Field(default=22, ge=1, le=65_535, description="port of the SSH servers")
    username: str | None = Field(default=None, description="whom to log in as")
    client_key: Path | None = Field(default=None, description="private key to log in with")
    known_hosts: Path | None = Field(
        default=None, description="keys of the machines; those of the user by default"
    )
    remote_python: str | None = Field(
        default=None,
        description="Python of the environment there; the same path as here by default",
    )


class KubernetesPods(BaseModel):
    """A cluster that the Dask operator runs. Extra: musichash[kubernetes]."""

    model_config = _FROZEN

    image: str = Field(description="image with this version of musichash")
    namespace: str = Field(default="musichash", description="namespace of the pods")
    name: str = Field(
        default="musichash",
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        description="name of the Dask cluster",
    )
    cpus: float = Field(default=1.0, gt=0, le=64, description="processors of a worker's pod")
    gpus: int = Field(default=0, ge=0, le=1, description="GPUs of a worker's pod")
    claims: dict[str, str] = Field(
        default_factory=dict,
        description="path in the pods -> PersistentVolumeClaim: music (read only) and store",
    )
    read_only: tuple[str, ...] = Field(default=(), description="paths that are mounted read-only")


class SlurmJobs(BaseModel):
    """Workers that are jobs of a SLURM cluster. Extra: musichash[slurm]."""

    model_config = _FROZEN

    partition: str | None = Field(default=None, description="SLURM's partition (queue)")
    account: str | None = Field(default=None, description="SLURM's account")
    walltime: str = Field(
        default="08:00:00",
        pattern=r"^(\d+-)?\d{1,2}:\d{2}:\d{2}$",
        description="longest life of a job, [days-]hours:minutes:seconds",
    )
    cores: int = Field(default=1, ge=1, le=256, description="processors of a job")
    workers_per_job: int = Field(default=1, ge=1, le=256, description="worker processes in a job")
    gpus: int = Field(default=0, ge=0, le=8, description="GPUs of a job")
    interface: str | None = Field(default=None, description="network that nodes share: ib0, eth0")
    log_folder: Path | None = Field(default=None, description="where jobs write their output")
    extra_directives: tuple[str, ...] = Field(default=(), description="more #SBATCH directives")


class ClusterSettings(BaseModel):
    """Where the work of a run is done; never changes its results."""

    model_config = _FROZEN

    scheduler: str | None = Field(
        None, description="address of a running Dask scheduler; none starts workers here"
    )
    n_workers: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="worker processes here, pods, or jobs; none is one per CPU here, else one",
    )
    worker_memory_bytes: int | None = Field(
        None, ge=1 << 28, description="memory limit of a worker; none is estimated"
    )
    wait_for_workers_s: int = Field(
        default=120, ge=1, le=604_800, description="patience for the first worker elsewhere"
    )
    tls: TlsFiles | None = Field(None, description="certificates; needed beyond this machine")
    insecure: bool = Field(
        default=False,
        description="talk to other machines without TLS: whoever reaches the scheduler's port runs "
        "programs as its user, so only in a network that nobody else can enter",
    )
    ssh: SSHHosts | None = Field(None, description="machines that are reached by SSH")
    kubernetes: KubernetesPods | None = Field(None, description="pods that the Dask operator runs")
    slurm: SlurmJobs | None = Field(None, description="jobs of a SLURM cluster")
    cuda: bool = Field(default=False, description="one worker per GPU of this machine")

    @model_validator(mode="after")
    def _check_relations(self) -> Self:
        kinds = {
            "scheduler": self.scheduler is not None,
            "ssh": self.ssh is not None,
            "kubernetes": self.kubernetes is not None,
            "slurm": self.slurm is not None,
            "cuda": self.cuda,
        }
        chosen = [name for name, is_chosen in kinds.items() if is_chosen]
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} exclude one another; keep one of them")
        if self.scheduler is not None and self.scheduler.startswith("tls://") and self.tls is None:
            raise ValueError(
                f"the scheduler {self.scheduler} asks for certificates; give tls.ca_file, "
                "tls.cert_file and tls.key_file in a file with --cluster"
            )
        if self.tls is not None and self._is_in_the_clear:
            raise ValueError(
                f"the scheduler {self.scheduler} is spoken to in the clear, which certificates "
                "rule out: begin its address with tls://, or leave tls out"
            )
        if self._leaves_this_machine and self.tls is None and not self.insecure:
            raise ValueError(
                f"{self._leaves_this_machine} without TLS: whoever reaches its port runs programs "
                "there; use a tls:// address with certificates (tls.ca_file, tls.cert_file, "
                "tls.key_file), or say insecure = true where nobody else is in that network"
            )
        if self.kubernetes is not None and self.tls is not None:
            raise ValueError(
                "the operator's pods talk without TLS: leave tls out and say insecure = true in a "
                "namespace that a NetworkPolicy closes, or run the scheduler of "
                "deploy/kubernetes and give its tls:// address as scheduler"
            )
        if self.ssh is not None and self.n_workers is not None:
            raise ValueError(
                "n_workers (--workers) says nothing over SSH: give ssh.workers_per_host"
            )
        if self.scheduler is not None and self.worker_memory_bytes is not None:
            raise ValueError(
                "worker_memory_bytes (--worker-memory) says nothing to workers that run already: "
                "start them with 'dask worker --memory-limit'"
            )
        return self

    @property
    def n_described(self) -> int | None:
        """Worker processes that are asked for; None where only the cluster knows."""
        if self.ssh is not None:
            return self.ssh.workers_per_host * (len(self.ssh.hosts) - 1)
        if self.slurm is not None:
            return self.slurm.workers_per_job * (self.n_workers or 1)
        if self.kubernetes is not None:
            return self.n_workers or 1
        return self.n_workers

    @property
    def is_elsewhere(self) -> bool:
        """Whether work is done by workers that other programs, or other machines, run."""
        return any((self.scheduler, self.ssh, self.kubernetes, self.slurm))

    @property
    def may_have_gpus(self) -> bool:
        """Whether a worker could offer a GPU; only of a scheduler's one must ask."""
        pods_or_jobs = self.kubernetes or self.slurm
        has_own = pods_or_jobs is not None and pods_or_jobs.gpus > 0
        return self.scheduler is not None or self.cuda or has_own

    @property
    def _leaves_this_machine(self) -> str:
        """What goes over a network in the clear; empty if nothing does."""
        if self.ssh is not None:
            return "a cluster over SSH starts its scheduler"
        if self.kubernetes is not None:
            return "a cluster on Kubernetes starts its scheduler"
        if self.slurm is not None:
            return "a cluster on SLURM starts its scheduler here"
        if not self._is_in_the_clear or _is_here(self._address.hostname or ""):
            return ""
        return f"the scheduler {self.scheduler} is spoken to"

    @property
    def _is_in_the_clear(self) -> bool:
        """Whether there is a scheduler whose address asks for no encryption."""
        try:
            return self._address.scheme in {"tcp", "ws"} and self._address.port is not None
        except ValueError:  # not an address at all: connecting says so
            return False

    @property
    def _address(self) -> SplitResult:
        """The scheduler's address in parts; as Dask does, one without a scheme is TCP's."""
        address = self.scheduler or ""
        return urlsplit(address if "://" in address else f"tcp://{address}")


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_cluster_settings(path: Path | None, **given: Any) -> ClusterSettings:  # noqa: ANN401
    """Read a cluster's description, and let what is given besides take precedence.

    Parameters
    ----------
    path : Path or None
        TOML file with the fields of `ClusterSettings`; relative paths of certificates and keys
        count from its folder.
    **given
        Single fields; None leaves the file's.

    Raises
    ------
    ConfigError
        If the file is missing or no TOML, has an unknown key, or a value that is not allowed.
    """
    source = "the cluster" if path is None else str(path)
    content = {} if path is None else _with_paths(_read(path), path.parent)
    content |= {name: value for name, value in given.items() if value is not None}
    try:
        return ClusterSettings.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}".removeprefix(": ")
            for entry in error.errors(include_url=False)
        )
        raise ConfigError(f"{source}: {problems.replace('Value error, ', '')}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"the cluster file {path} does not exist; check --cluster") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the cluster file {path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


_PATHS = {"ca_file", "cert_file", "key_file", "client_key", "known_hosts", "log_folder"}


def _with_paths(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Let the paths in a file count from its own folder."""
    placed: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            placed[name] = _with_paths(value, folder)
        else:
            is_path = name in _PATHS and isinstance(value, str)
            placed[name] = str((folder / value).absolute()) if is_path else value
    return placed
