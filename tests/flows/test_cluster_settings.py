"""`flows.cluster_settings`, `flows.cluster_kinds`: what may be asked for, what it becomes."""

import importlib.util
import json
import stat

import dask
import pytest
from dask_kubernetes.operator import make_cluster_spec
from typer.testing import CliRunner

from flows.cli import app
from flows.cluster_kinds import ClusterStartError, dask_settings, kubernetes_spec, start_cluster
from flows.cluster_settings import ClusterSettings, KubernetesPods, read_cluster_settings
from musichash_core.errors import ConfigError

TLS = {"ca_file": "ca.pem", "cert_file": "cert.pem", "key_file": "key.pem"}


def written(folder, text):
    path = folder / "cluster.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"scheduler": "tcp://10.0.0.7:8786"}, "tcp://10.0.0.7:8786 is spoken to without TLS"),
        ({"scheduler": "head.example.org:8786"}, "head.example.org:8786 is spoken to without TLS"),
        ({"scheduler": "tls://head:8786"}, "asks for certificates"),
        ({"ssh": {"hosts": ["a", "b"]}}, "a cluster over SSH starts its scheduler without TLS"),
        ({"ssh": {"hosts": ["a"]}, "insecure": True}, "ssh.hosts: .*at least 2"),
        ({"slurm": {}}, "a cluster on SLURM starts its scheduler here without TLS"),
        ({"slurm": {"walltime": "soon"}, "insecure": True}, "slurm.walltime"),
        ({"kubernetes": {"image": "i"}, "tls": TLS}, "pods talk without TLS"),
        ({"kubernetes": {}, "insecure": True}, "kubernetes.image: Field required"),
        (
            {"cuda": True, "scheduler": "tcp://127.0.0.1:1"},
            "scheduler and cuda exclude one another",
        ),
        ({"works": 3}, "works: Extra inputs are not permitted"),
    ],
)
def test_what_is_not_allowed_is_refused_with_the_way_out(given, sentence):
    with pytest.raises(ConfigError, match=sentence):
        read_cluster_settings(None, **given)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"scheduler": "tcp://127.0.0.1:8786"},
        {"scheduler": "localhost:8786"},
        {"scheduler": "tcp://[::1]:8786"},
        {"scheduler": "tcp://10.0.0.7:8786", "insecure": True},
        {"scheduler": "tls://10.0.0.7:8786", "tls": TLS},
    ],
)
def test_what_stays_here_or_is_encrypted_is_allowed(given):
    assert read_cluster_settings(None, **given) == ClusterSettings(**given)


def test_a_file_is_read_its_paths_count_from_its_folder_and_options_come_first(tmp_path):
    path = written(
        tmp_path,
        'scheduler = "tls://head:8786"\nn_workers = 3\n'
        '[tls]\nca_file = "ca.pem"\ncert_file = "/etc/own.pem"\nkey_file = "keys/own.key"\n',
    )
    settings = read_cluster_settings(path, n_workers=5, worker_memory_bytes=None)
    assert settings.n_workers == 5
    assert settings.tls is not None
    assert settings.tls.ca_file == tmp_path / "ca.pem"
    assert str(settings.tls.cert_file) == "/etc/own.pem"
    assert settings.tls.key_file == tmp_path / "keys" / "own.key"


def test_a_wrong_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.toml does not exist; check --cluster"):
        read_cluster_settings(tmp_path / "no.toml")
    with pytest.raises(ConfigError, match=r"cluster\.toml is not valid TOML"):
        read_cluster_settings(written(tmp_path, "scheduler ="))


def test_the_command_line_refuses_a_scheduler_in_the_clear(tmp_path):
    result = CliRunner().invoke(
        app, ["describe", "--store", str(tmp_path), "--scheduler", "tcp://10.9.8.7:8786"]
    )
    assert isinstance(result.exception, ConfigError)
    assert "without TLS" in str(result.exception)


def test_with_certificates_nothing_in_the_clear_is_accepted():
    settings = ClusterSettings(scheduler="tls://10.0.0.7:8786", tls=TLS)
    with dask.config.set(dask_settings(settings)):
        assert dask.config.get("distributed.comm.require-encryption") is True
        for role in ("scheduler", "worker", "client"):
            assert dask.config.get(f"distributed.comm.tls.{role}.cert") == "cert.pem"
            assert dask.config.get(f"distributed.comm.tls.{role}.key") == "key.pem"


def test_certificates_that_cannot_be_read_are_named(tmp_path):
    files = {name: str(tmp_path / value) for name, value in TLS.items()}
    settings = ClusterSettings(slurm={}, tls=files)
    with pytest.raises(ClusterStartError, match=r"ca\.pem cannot be read"):
        start_cluster(settings)


@pytest.mark.skipif(importlib.util.find_spec("dask_cuda") is not None, reason="it is installed")
def test_a_kind_without_its_package_says_what_to_install():
    with pytest.raises(ClusterStartError, match=r"needs the package dask-cuda .*musichash\[cuda\]"):
        start_cluster(ClusterSettings(cuda=True))


# --- SLURM: the job that would be handed in ---


def test_a_job_script_has_processors_memory_gpu_and_one_thread_per_worker(monkeypatch):
    import dask_jobqueue

    made = []

    class Waiting(dask_jobqueue.SLURMCluster):
        """Asks for no job: there is no sbatch here."""

        def __init__(self, **options):
            made.append(options.pop("n_workers"))
            super().__init__(n_workers=0, **options)

    monkeypatch.setattr(dask_jobqueue, "SLURMCluster", Waiting)
    settings = ClusterSettings(
        insecure=True,
        worker_memory_bytes=2_000_000_000,
        n_workers=3,
        slurm={
            "partition": "gpu",
            "account": "archive",
            "cores": 8,
            "workers_per_job": 4,
            "gpus": 1,
            "interface": "lo",
        },
    )
    with start_cluster(settings) as cluster:
        script = cluster.job_script()
    assert made == [12]
    for line in (
        "#SBATCH -p gpu",
        "#SBATCH -A archive",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --mem=8G",
        "#SBATCH -t 08:00:00",
        "#SBATCH --gpus=1",
        "export MALLOC_TRIM_THRESHOLD_=67108864",
    ):
        assert line in script.splitlines(), script
    assert "--nthreads 1 " in script
    assert "--nworkers 4 " in script
    assert "--resources GPU=1" in script


# --- Kubernetes: what the operator is given ---


@pytest.fixture
def pods():
    return KubernetesPods(
        image="registry.example.org/musichash:1",
        gpus=1,
        claims={"/music": "catalogue", "/store": "store"},
        read_only=("/music",),
    )


def test_pods_have_least_privilege_their_volumes_and_their_limits(pods):
    spec = make_cluster_spec(pods.name, image=pods.image, n_workers=4)
    spec = json.loads(json.dumps(kubernetes_spec(spec, pods, 2_000_000_000)))
    assert spec["spec"]["worker"]["replicas"] == 4
    for role in ("scheduler", "worker"):
        pod = spec["spec"][role]["spec"]
        (container,) = pod["containers"]
        assert container["image"] == pods.image
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        claims = {
            volume["name"]: volume["persistentVolumeClaim"]["claimName"]
            for volume in pod["volumes"]
            if "persistentVolumeClaim" in volume
        }
        mounts = {
            claims[mount["name"]]: (mount["mountPath"], mount["readOnly"])
            for mount in container["volumeMounts"]
            if mount["name"] in claims
        }
        assert mounts == {"catalogue": ("/music", True), "store": ("/store", False)}
    (worker,) = spec["spec"]["worker"]["spec"]["containers"]
    assert worker["resources"]["limits"] == {
        "cpu": "1.0",
        "memory": "2500000000",
        "nvidia.com/gpu": "1",
    }
    assert worker["args"][-6:] == [
        *("--nthreads", "1"),
        *("--memory-limit", "2000000000"),
        *("--resources", "GPU=1"),
    ]
    (scheduler,) = spec["spec"]["scheduler"]["spec"]["containers"]
    assert "GPU=1" not in scheduler["args"]


def test_files_of_keys_in_the_examples_are_not_shipped(request):
    folder = request.config.rootpath / "deploy"
    assert [path for path in folder.rglob("*") if path.suffix in {".pem", ".key"}] == []
    assert all(not path.stat().st_mode & stat.S_ISUID for path in folder.rglob("*"))


def test_the_examples_of_clusters_are_what_the_program_reads(request):
    deploy = request.config.rootpath / "deploy"
    for path in (deploy / "clusters" / "compose.toml", deploy / "kubernetes" / "cluster.toml"):
        assert (read_cluster_settings(path).scheduler or "").startswith("tls://")
    examples = sorted(
        set((deploy / "clusters").glob("*.toml")) - {deploy / "clusters/compose.toml"}
    )
    kinds = {path.stem: read_cluster_settings(path) for path in examples}
    assert set(kinds) == {"scheduler", "ssh", "slurm", "kubernetes", "cuda"}
    assert kinds.pop("cuda").cuda
    for name, settings in kinds.items():
        assert getattr(settings, name) is not None
        assert settings.is_elsewhere
        assert settings.tls is not None or settings.insecure
