"""`flows.cluster_settings`, `.cluster_needs`, `.cluster_kinds`: what is asked for, and becomes."""

import importlib.util
import json
import re
import stat

import dask
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from dask_kubernetes.operator import make_cluster_spec
from typer.testing import CliRunner

from flows import cluster_contact
from flows.cli import app
from flows.cluster import Workers
from flows.cluster_contact import SchedulerError
from flows.cluster_kinds import dask_settings, kubernetes_spec, start_cluster
from flows.cluster_needs import ClusterStartError, check_needs
from flows.cluster_settings import ClusterSettings, KubernetesPods, read_cluster_settings
from musichash_core.errors import ConfigError

TLS = {"ca_file": "ca.pem", "cert_file": "cert.pem", "key_file": "key.pem"}
FILES = "\n".join(f'{name} = "{file}"' for name, file in TLS.items())


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
        ({"scheduler": "tcp://127.0.0.1:1", "tls": TLS}, "in the clear.* begin its address with"),
        ({"scheduler": "127.0.0.1:1", "tls": TLS}, "in the clear.* begin its address with tls://"),
        (
            {"ssh": {"hosts": ["a", "b"]}, "insecure": True, "n_workers": 4},
            "give ssh.workers_per_host",
        ),
        (
            {"scheduler": "tcp://127.0.0.1:1", "worker_memory_bytes": 1 << 30},
            "'dask worker --memory-limit'",
        ),
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


@pytest.fixture
def files(tmp_path):
    """An authority, a certificate of it with its key, and another key."""
    authority = trustme.CA()
    own, other = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    own.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    own.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    other.private_key_pem.write_to_path(str(tmp_path / "other.pem"))
    (tmp_path / "text.pem").write_text("no certificate")
    locked = load_pem_private_key(own.private_key_pem.bytes(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    (tmp_path / "locked.pem").write_bytes(locked)
    return tmp_path


@pytest.mark.parametrize(
    ("which", "name", "sentence"),
    [
        ("ca_file", "no.pem", r"tls\.ca_file: .*/no\.pem cannot be read \(No such file"),
        ("key_file", "no.pem", r"tls\.key_file: .*/no\.pem cannot be read"),
        ("ca_file", "text.pem", r"text\.pem holds no certificate in PEM"),
        (
            "cert_file",
            "text.pem",
            r"text\.pem and tls\.key_file: .*/key\.pem are not a certificate",
        ),
        ("key_file", "other.pem", r"other\.pem are not a certificate .* its own key"),
        ("key_file", "locked.pem", r"locked\.pem are not .* without a password"),
    ],
)
def test_certificates_that_cannot_be_used_are_named(files, which, name, sentence):
    given = {each: str(files / value) for each, value in TLS.items()}
    check_needs(ClusterSettings(scheduler="tls://localhost:1", tls=given))
    settings = ClusterSettings(
        scheduler="tls://localhost:1", tls=given | {which: str(files / name)}
    )
    with pytest.raises(ClusterStartError, match=sentence):
        check_needs(settings)


def test_what_certificates_ask_of_dask_ends_with_the_workers(files, monkeypatch):
    monkeypatch.setattr(cluster_contact, "CONNECT_TIMEOUT", "1s")
    given = {each: str(files / value) for each, value in TLS.items()}
    encryption = "distributed.comm.require-encryption"
    assert not dask.config.get(encryption)
    with Workers(ClusterSettings(scheduler="tls://127.0.0.1:9", tls=given)) as workers:
        with pytest.raises(SchedulerError, match="no Dask scheduler answers"):
            _ = workers.client
        assert dask.config.get(encryption) is True
    assert not dask.config.get(encryption)


def test_a_key_for_ssh_that_is_not_there_is_named(tmp_path):
    hosts = {"hosts": ["a", "b"], "client_key": str(tmp_path / "id")}
    with pytest.raises(ClusterStartError, match=r"ssh\.client_key: .*/id cannot be read"):
        start_cluster(ClusterSettings(ssh=hosts, insecure=True))


def test_a_night_with_missing_certificates_ends_before_its_scan(files):
    path = written(files, f'scheduler = "tls://localhost:1"\n[tls]\n{FILES}')
    (files / "key.pem").unlink()
    store = files / "store"
    result = CliRunner().invoke(
        app,
        ["run", "--catalogue", str(files), "--store", str(store), "--cluster", str(path)],
    )
    assert isinstance(result.exception, ClusterStartError)
    assert result.exception.is_wrong_input
    assert "scan" not in result.output
    assert not store.exists()


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ({}, None),
        ({"n_workers": 3}, 3),
        ({"scheduler": "tcp://127.0.0.1:1"}, None),
        ({"scheduler": "tcp://127.0.0.1:1", "n_workers": 5}, 5),
        ({"ssh": {"hosts": ["a", "b", "c"], "workers_per_host": 8}, "insecure": True}, 16),
        ({"slurm": {"workers_per_job": 8}, "n_workers": 16, "insecure": True}, 128),
        ({"slurm": {}, "insecure": True}, 1),
        ({"kubernetes": {"image": "i"}, "n_workers": 8, "insecure": True}, 8),
        ({"cuda": True}, None),
    ],
)
def test_the_workers_that_are_described_are_counted(given, number):
    assert ClusterSettings(**given).n_described == number


def test_a_plan_counts_on_the_workers_of_the_file(files, tones):
    text = f"n_workers = 4\n[slurm]\nworkers_per_job = 8\n[tls]\n{FILES}"
    path = written(files, text)
    arguments = ["--catalogue", str(tones), "--store", str(files / "store"), "--json"]
    for command in (["plan"], ["run", "--dry-run"]):
        result = CliRunner().invoke(
            app, [*command, *arguments, "--labels", "none", "--cluster", str(path)]
        )
        assert json.loads(result.stdout)["workers"] == 32


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
    assert "--dashboard-address 127.0.0.1:0" in script


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


def test_what_dask_shows_without_certificates_stays_on_loopback(request):
    deploy = request.config.rootpath / "deploy"
    starting = {
        path.name: path.read_text()
        for path in deploy.rglob("*")
        if path.suffix in {".yaml", ".toml"} and "--no-dashboard" in path.read_text()
    }
    assert {"compose.yaml", "scheduler.yaml", "workers.yaml", "scheduler.toml"} <= starting.keys()
    for name, text in starting.items():
        n_loopback = len(re.findall(r"--dashboard-address[= ]127\.0\.0\.1:0\b", text))
        assert n_loopback == text.count("--no-dashboard"), name


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
