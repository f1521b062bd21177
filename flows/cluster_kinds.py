"""How each kind of Dask cluster is started, and the settings of Dask that all of them share.

Public: `dask_settings`, `start_cluster`, `estimate_worker_bytes`, `kubernetes_spec`,
`GPU_RESOURCE`.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask
from distributed import LocalCluster, Security, SSHCluster
from distributed import scheduler as dask_scheduler
from distributed.deploy.cluster import Cluster
from distributed.utils import get_mp_context

from flows.cluster_needs import check_needs, package
from flows.cluster_settings import ClusterSettings, KubernetesPods, SlurmJobs, SSHHosts, TlsFiles

_KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": 1 << 26, "MALLOC_MMAP_THRESHOLD_": 1 << 26}
"""Dask makes glibc return memory at once, and the half-megabyte blocks of decoding are then mapped
and cleared anew each time: a quarter more CPU time. Keep up to 64 MB instead."""

DASK_SETTINGS = {
    # A worker that dies is replaced even when the machine is slow; without this the cluster
    # forgets it after 15 s and the run waits for ever.
    "distributed.deploy.lost-worker-timeout": "300s",
    "distributed.scheduler.no-workers-timeout": "120s",
    # The first death decides who is suspected; `Workers.fan_out` tries suspects again, alone.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.active-memory-manager.start": False,
    # The sampling profiler of each worker; nobody reads it here.
    "distributed.worker.profile.enabled": False,
    # Each of these wakes an event loop that takes turns with the work; a partition takes seconds,
    # and the defaults ask 10 to 50 times a second.
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.tick.limit": "30s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.worker.memory.monitor-interval": "500ms",
    **{f"distributed.nanny.pre-spawn-environ.{name}": size for name, size in _KEEP_MEMORY.items()},
}

HEARTBEAT_S = 5.0

_DASKS_HEARTBEAT_INTERVAL = dask_scheduler.heartbeat_interval

GPU_RESOURCE = "GPU"

NO_PORT_KNOWN = "127.0.0.1:0"
"""Where dashboards are: on loopback, at a port of the system's choice. Without one a scheduler and
each worker still show pages, in the clear whatever the certificates, and to all unless told."""


def estimate_worker_bytes() -> int:
    """Estimate the memory that a worker may use.

    Interpreter and libraries take about 0.6 GB once torch is loaded; one partition's shard, a
    decoder and 16 segments in the networks stay below 0.4 GB. Twice the sum is the limit, because
    Dask pauses a worker at 80 % of it.
    """
    return 2 * (600 + 400) * 1_000_000


def dask_settings(settings: ClusterSettings) -> dict[str, Any]:
    """Give what Dask must be told before anything is started or connected to.

    With certificates nothing in the clear is accepted any more, from anybody; workers that another
    process starts need the same settings there.
    """
    shared = dict(DASK_SETTINGS)
    if not settings.is_elsewhere and not settings.cuda:  # CUDA does not outlive a fork
        shared["distributed.worker.multiprocessing-method"] = "forkserver"
    if settings.tls is None:
        return shared
    comm = "distributed.comm"
    pairs = {
        f"{comm}.tls.{role}.{what}": str(getattr(settings.tls, f"{what}_file"))
        for role in ("scheduler", "worker", "client")
        for what in ("cert", "key")
    }
    return (
        shared
        | pairs
        | {
            f"{comm}.tls.ca-file": str(settings.tls.ca_file),
            f"{comm}.require-encryption": True,
        }
    )


def start_cluster(settings: ClusterSettings) -> Cluster:
    """Start the workers that the settings describe; not for an existing scheduler.

    Raises
    ------
    ClusterStartError
        See `flows.cluster_needs.check_needs`.
    """
    check_needs(settings)
    memory = settings.worker_memory_bytes or estimate_worker_bytes()
    security = None if settings.tls is None else _security(settings.tls)
    if settings.ssh is not None:
        return _ssh(settings.ssh, memory, security)
    if settings.kubernetes is not None:
        return _kubernetes(settings.kubernetes, settings.n_workers or 1, memory)
    if settings.slurm is not None:
        return _slurm(settings.slurm, settings.n_workers or 1, memory, security)
    if settings.cuda:
        return _cuda(settings.n_workers, memory)
    get_mp_context().set_forkserver_preload(["flows.worker_preload"])
    dask_scheduler.heartbeat_interval = _seconds_between_heartbeats
    with _main_program_hidden():
        return LocalCluster(
            n_workers=settings.n_workers or os.cpu_count() or 1,
            threads_per_worker=1,
            processes=True,
            memory_limit=memory,
            host="127.0.0.1",
            dashboard_address=NO_PORT_KNOWN,  # None would ask for port 8787, and warn if taken
        )


def _seconds_between_heartbeats(n: int) -> float:
    """Let workers of this machine report themselves less often than Dask does.

    It asks up to ten workers twice a second, which takes both sides half of what they use beside
    the work; the death of a worker is noticed by its connection. No setting of Dask says so.
    """
    return max(HEARTBEAT_S, _DASKS_HEARTBEAT_INTERVAL(n))


@contextmanager
def _main_program_hidden() -> Iterator[None]:
    """Keep new processes from importing the main program, which is the command line or Prefect's.

    Python does so in case something defined there is sent to them; nothing is.
    """
    main = sys.modules["__main__"]
    attributes = {name: main.__dict__.get(name) for name in ("__spec__", "__file__")}
    try:
        main.__dict__.update(dict.fromkeys(attributes))
        yield
    finally:
        main.__dict__.update(attributes)


def _security(files: TlsFiles) -> Security:
    pair = {"cert": str(files.cert_file), "key": str(files.key_file)}
    return Security(
        tls_ca_file=str(files.ca_file),
        require_encryption=True,
        **{
            f"tls_{role}_{what}": path
            for role in ("scheduler", "worker", "client")
            for what, path in pair.items()
        },
    )


def _ssh(hosts: SSHHosts, memory: int, security: Security | None) -> Cluster:
    package("asyncssh")
    connect = {
        "port": hosts.port,
        "username": hosts.username,
        "client_keys": None if hosts.client_key is None else [str(hosts.client_key)],
        "known_hosts": None if hosts.known_hosts is None else str(hosts.known_hosts),
    }
    protocol = {} if security is None else {"protocol": "tls"}
    scheduler, *workers = hosts.hosts
    # Dask waits for the line in which its scheduler over there logs its address.
    with dask.config.set({"logging.distributed": "info"}):
        return SSHCluster(
            [scheduler, *(host for host in workers for _ in range(hosts.workers_per_host))],
            connect_options={name: value for name, value in connect.items() if value is not None},
            worker_options={
                "nthreads": 1,
                "memory_limit": memory,
                "dashboard_address": NO_PORT_KNOWN,
                **protocol,
            },
            scheduler_options={"port": 0, "dashboard_address": NO_PORT_KNOWN, **protocol},
            remote_python=hosts.remote_python,
            **({} if security is None else {"security": security}),  # type: ignore[arg-type]
        )


def _slurm(jobs: SlurmJobs, n_jobs: int, memory: int, security: Security | None) -> Cluster:
    directives = [*jobs.extra_directives, *([f"--gpus={jobs.gpus}"] if jobs.gpus else [])]
    prologue = [f"export {name}={size}" for name, size in _KEEP_MEMORY.items()]
    cluster: Cluster = package("dask_jobqueue").SLURMCluster(
        n_workers=n_jobs * jobs.workers_per_job,
        queue=jobs.partition,
        account=jobs.account,
        walltime=jobs.walltime,
        cores=jobs.workers_per_job,  # threads in all; a worker has one
        job_cpu=jobs.cores,
        processes=jobs.workers_per_job,
        memory=f"{memory * jobs.workers_per_job}B",
        interface=jobs.interface,
        log_directory=None if jobs.log_folder is None else str(jobs.log_folder),
        job_extra_directives=directives,
        job_script_prologue=prologue,
        worker_extra_args=[
            *("--dashboard-address", NO_PORT_KNOWN),
            *(["--resources", f"{GPU_RESOURCE}=1"] if jobs.gpus else []),
        ],
        scheduler_options={"dashboard_address": NO_PORT_KNOWN},
        security=security,
        protocol=None if security is None else "tls://",
    )
    return cluster


def _cuda(n_workers: int | None, memory: int) -> Cluster:
    cluster: Cluster = package("dask_cuda").LocalCUDACluster(
        n_workers=n_workers,
        threads_per_worker=1,
        memory_limit=memory,
        host="127.0.0.1",
        dashboard_address=NO_PORT_KNOWN,
        resources={GPU_RESOURCE: 1},
    )
    return cluster


def _kubernetes(pods: KubernetesPods, n_workers: int, memory: int) -> Cluster:
    operator = package("dask_kubernetes.operator")
    spec = operator.make_cluster_spec(pods.name, image=pods.image, n_workers=n_workers)
    cluster: Cluster = operator.KubeCluster(
        namespace=pods.namespace, custom_cluster_spec=kubernetes_spec(spec, pods, memory)
    )
    return cluster


def kubernetes_spec(spec: dict[str, Any], pods: KubernetesPods, memory: int) -> dict[str, Any]:
    """Complete the operator's description of a cluster: memory, volumes, least privilege.

    Parameters
    ----------
    spec : dict
        As ``dask_kubernetes.operator.make_cluster_spec`` gives it; changed in place.
    memory : int
        Of a worker, bytes; the pod gets a quarter more, for the decoder beside it.
    """
    volumes = [
        {"name": f"claim-{number}", "persistentVolumeClaim": {"claimName": claim}}
        for number, claim in enumerate(pods.claims.values())
    ]
    mounts = [
        {"name": f"claim-{number}", "mountPath": path, "readOnly": path in pods.read_only}
        for number, path in enumerate(pods.claims)
    ]
    for role in ("scheduler", "worker"):
        pod = spec["spec"][role]["spec"]
        pod["automountServiceAccountToken"] = False
        pod["securityContext"] = {
            "runAsNonRoot": True,
            "runAsUser": 10_001,
            "fsGroup": 10_001,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        pod["volumes"] = [{"name": "scratch", "emptyDir": {}}, *volumes]
        (container,) = pod["containers"]
        container["securityContext"] = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        container["volumeMounts"] = [{"name": "scratch", "mountPath": "/tmp"}, *mounts]
        container["workingDir"] = "/tmp"
    (worker,) = spec["spec"]["worker"]["spec"]["containers"]
    worker["args"] += ["--nthreads", "1", "--memory-limit", str(memory)]
    worker["env"] = [
        *(worker.get("env") or []),
        *({"name": name, "value": str(size)} for name, size in _KEEP_MEMORY.items()),
    ]
    amounts = {"cpu": str(pods.cpus), "memory": str(memory * 5 // 4)}
    if pods.gpus:
        amounts["nvidia.com/gpu"] = str(pods.gpus)
        worker["args"] += ["--resources", f"{GPU_RESOURCE}=1"]
    worker["resources"] = {"requests": dict(amounts), "limits": dict(amounts)}
    return spec
