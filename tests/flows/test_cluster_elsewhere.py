"""A night whose scheduler and workers are other processes: over TLS, in other networks, by SSH.

Marked slow: each starts interpreters, and most need the rights of root.
"""

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import trustme
from distributed import Client, Security

from flows.cluster import Workers
from flows.cluster_contact import SchedulerError
from flows.cluster_settings import ClusterSettings, SSHHosts, TlsFiles
from storage.layout import StoreLayout
from storage.snapshots import current_snapshot

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

DASK = str(Path(sys.executable).with_name("dask"))
STARTS_WITHIN_S = 90
SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


@contextmanager
def running(*commands, folder):
    """Run commands until the block ends; what they say goes to files in the folder."""
    with ExitStack() as stack:
        for number, command in enumerate(commands):
            log = stack.enter_context((folder / f"log-{number}").open("wb"))
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
            stack.callback(stop, process)
        yield


def stop(process):
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(30)
        return
    process.kill()
    process.wait()


def wait_for(path):
    deadline = time.monotonic() + STARTS_WITHIN_S
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    return json.loads(path.read_text())


def certificates(authority, folder, *names):
    """Make one certificate that both sides of a connection accept, and put it into files."""
    folder.mkdir()
    own = authority.issue_cert(*names)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    own.private_key_pem.write_to_path(str(folder / "own.key"))
    own.cert_chain_pems[0].write_to_path(str(folder / "own.pem"))
    (folder / "own.key").chmod(0o600)
    return TlsFiles(
        ca_file=folder / "ca.pem", cert_file=folder / "own.pem", key_file=folder / "own.key"
    )


def tls_options(files):
    return [
        *("--tls-ca-file", str(files.ca_file)),
        *("--tls-cert", str(files.cert_file)),
        *("--tls-key", str(files.key_file)),
    ]


def scheduler_and_worker(files, folder, *, host, within=((), ())):
    """Commands of a scheduler and a worker that accept nothing in the clear."""
    contact = ["--scheduler-file", str(folder / "scheduler.json"), *tls_options(files)]
    here, there = within
    no_dashboard = ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    scheduler = [DASK, "scheduler", "--host", f"tls://{host}", "--port", "0", *no_dashboard]
    worker = [DASK, "worker", "--nthreads", "1", *no_dashboard]
    return [*here, *scheduler, *contact], [*there, *worker, *contact]


def digest_of(store):
    return current_snapshot(StoreLayout(store)).digest


@pytest.fixture
def here(run_night, tones, tiny_config, tmp_path):
    """The digest of the same night with workers of this machine."""
    run_night(tones, tmp_path / "here", tiny_config)
    return digest_of(tmp_path / "here")


@pytest.fixture
def files(tmp_path):
    return certificates(trustme.CA(), tmp_path / "tls", "127.0.0.1", "localhost")


def test_a_night_over_tls_makes_the_same_and_strangers_are_refused(
    run_night, tones, tiny_config, tmp_path, files, here
):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    with running(*scheduler_and_worker(files, folder, host="127.0.0.1"), folder=folder):
        address = wait_for(folder / "scheduler.json")["address"]
        assert address.startswith("tls://")
        # Without a certificate, in the clear, and with one of another authority.
        stranger = certificates(trustme.CA(), tmp_path / "stranger", "127.0.0.1")
        of_a_stranger = Security(
            tls_ca_file=str(stranger.ca_file),
            tls_client_cert=str(stranger.cert_file),
            tls_client_key=str(stranger.key_file),
            require_encryption=True,
        )
        without = Security(tls_ca_file=str(files.ca_file), require_encryption=True)
        for security in (of_a_stranger, without):
            with pytest.raises((OSError, TypeError)):
                Client(address, security=security, timeout="5s")
        with pytest.raises(OSError, match=r"[Tt]imed out|reset by peer|closed"):
            Client(address.replace("tls://", "tcp://"), timeout="5s")
        night = run_night(
            tones,
            tmp_path / "store",
            tiny_config,
            cluster=ClusterSettings(scheduler=address, tls=files),
        )
    assert night.account["run"]["done"] == 6
    assert digest_of(tmp_path / "store") == here


def test_a_certificate_of_another_authority_gives_one_sentence(tmp_path, files, monkeypatch):
    monkeypatch.setattr("flows.cluster_contact.CONNECT_TIMEOUT", "5s")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    with running(*scheduler_and_worker(files, folder, host="127.0.0.1"), folder=folder):
        address = wait_for(folder / "scheduler.json")["address"]
        stranger = certificates(trustme.CA(), tmp_path / "stranger", "127.0.0.1")
        workers = Workers(ClusterSettings(scheduler=address, tls=stranger))
        with workers, pytest.raises(SchedulerError, match=r"certificate .* not of our authority"):
            _ = workers.client


# --- other networks ---


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def two_networks():
    """Two network namespaces on one bridge with this machine; their names and addresses."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and the program ip")
    tag = f"{os.getpid() % 10_000}"
    bridge = f"mhb{tag}"
    names = [f"mh{tag}{letter}" for letter in "ab"]
    try:
        ip("link", "add", bridge, "type", "bridge")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this machine allows no bridge: {error.stderr.decode().strip()}")
    try:
        ip("addr", "add", "10.213.77.1/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        addresses = []
        for number, name in enumerate(names, 2):
            ip("netns", "add", name)
            ip("link", "add", f"{name}0", "type", "veth", "peer", "name", f"{name}1")
            ip("link", "set", f"{name}0", "master", bridge)
            ip("link", "set", f"{name}0", "up")
            ip("link", "set", f"{name}1", "netns", name)
            ip("-n", name, "addr", "add", f"10.213.77.{number}/24", "dev", f"{name}1")
            ip("-n", name, "link", "set", f"{name}1", "up")
            ip("-n", name, "link", "set", "lo", "up")
            addresses.append(f"10.213.77.{number}")
        yield list(zip(names, addresses, strict=True))
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", bridge], check=False, capture_output=True)


def test_a_night_across_three_networks_makes_the_same(
    run_night, tones, tiny_config, tmp_path, two_networks, here
):
    (first, address_of_first), (second, address_of_second) = two_networks
    files = certificates(
        trustme.CA(), tmp_path / "tls", address_of_first, address_of_second, "10.213.77.1"
    )
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    within = (["ip", "netns", "exec", first], ["ip", "netns", "exec", second])
    commands = scheduler_and_worker(files, folder, host=address_of_first, within=within)
    with running(*commands, folder=folder):
        address = wait_for(folder / "scheduler.json")["address"]
        assert address.startswith(f"tls://{address_of_first}:")
        run_night(
            tones,
            tmp_path / "store",
            tiny_config,
            cluster=ClusterSettings(scheduler=address, tls=files),
        )
    assert digest_of(tmp_path / "store") == here


# --- SSH ---


@pytest.fixture
def ssh_port(tmp_path):
    """A server for SSH on loopback that lets this user in with a key; its port."""
    if not Path(SSHD).exists():
        pytest.skip("sshd is not installed")
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True
        )
    shutil.copyfile(folder / "user.pub", folder / "authorized_keys")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    Path("/run/sshd").mkdir(exist_ok=True)
    options = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized_keys",
        "PidFile": folder / "pid",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
    }
    given = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    key = (folder / "host.pub").read_text().split()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {key[0]} {key[1]}\n")
    with running([SSHD, "-D", "-e", "-f", "/dev/null", *given], folder=folder):
        deadline = time.monotonic() + STARTS_WITHIN_S
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        yield port


def test_a_night_on_machines_reached_by_ssh_makes_the_same(
    run_night, tones, tiny_config, tmp_path, files, here, ssh_port
):
    folder = tmp_path / "ssh"
    hosts = SSHHosts(
        hosts=("127.0.0.1", "127.0.0.1"),
        port=ssh_port,
        username=getpass.getuser(),
        client_key=folder / "user",
        known_hosts=folder / "known_hosts",
        remote_python=sys.executable,
    )
    night = run_night(
        tones, tmp_path / "store", tiny_config, cluster=ClusterSettings(ssh=hosts, tls=files)
    )
    assert night.account["run"]["done"] == 6
    assert digest_of(tmp_path / "store") == here
