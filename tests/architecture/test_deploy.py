"""What lies in deploy/: it is what the programs that read it accept, and keeps its promises.

Images cannot be built where the tests run; their files are read line by line here.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
DOCKERFILES = sorted((DEPLOY / "containers").glob("Dockerfile*"))
UNITS = sorted(path for path in (DEPLOY / "systemd").iterdir() if path.suffix == ".service")
PINNED = re.compile(r"^[\w./-]+:[\w.-]*\d[\w.-]*$")


def documents(path):
    return [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]


def pod_specs():
    for path in MANIFESTS:
        for document in documents(path):
            if document["kind"] == "Deployment":
                yield path.name, document["spec"]["template"]["spec"]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_kubernetes_would_take_the_manifests(path):
    for document in documents(path):
        if document["kind"] != "Kustomization":
            kubernetes_validate.validate(document, "1.31", strict=True)


def test_the_kustomization_names_files_that_are_there():
    (kustomization,) = documents(DEPLOY / "kubernetes" / "kustomization.yaml")
    (generator,) = kustomization["configMapGenerator"]
    for name in (*kustomization["resources"], *generator["files"]):
        assert (DEPLOY / "kubernetes" / name).is_file()


def test_no_pod_may_do_more_than_it_must():
    seen = 0
    for name, pod in pod_specs():
        seen += 1
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert "memory" in container["resources"]["limits"], name
            assert not any("password" in str(entry).lower() for entry in container.get("env", []))
    assert seen == 4


def test_the_credentials_of_the_pod_stay_its_own():
    (pod,) = [pod for name, pod in pod_specs() if name == "nights.yaml"]
    assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    for container in pod["containers"]:
        (home,) = container["env"]
        mounted = [one["mountPath"] for one in container["volumeMounts"] if one["name"] == "state"]
        assert Path(home["value"]).parent == Path(*mounted)


def test_compose_would_take_its_file():
    checker = str(Path(sys.executable).with_name("check-jsonschema"))
    subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml")],
        check=True,
        capture_output=True,
    )


def test_every_service_is_limited_pinned_watched_and_without_rights():
    (compose,) = documents(DEPLOY / "compose.yaml")
    for name, service in compose["services"].items():
        assert "healthcheck" in service, name
        assert "mem_limit" in service, name
        assert "no-new-privileges:true" in service["security_opt"], name
        image = service["image"].removeprefix("${MUSICHASH_IMAGE:-").removesuffix("}")
        assert PINNED.match(image), name
        if name not in {"postgres", "proxy"}:
            assert service["user"] == "10001:10001"
            assert service["cap_drop"] == ["ALL"]
            assert service["read_only"] is True
        published = service.get("ports", [])
        assert not published or name == "proxy"
    for secret in compose["secrets"].values():
        assert secret["file"].startswith("./secrets/")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_are_pinned_not_root_and_watched(path):
    text = path.read_text(encoding="utf-8")
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.\d+\.\d+-slim-bookworm$", text, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${PYTHON_IMAGE}"}
    last = text[text.rindex("\nFROM ") :]
    assert "\nUSER 10001:10001\n" in last
    assert "\nHEALTHCHECK " in last
    assert "--constraint" in text
    for copied in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        for source in copied.split()[:-1]:
            assert (ROOT / source).exists(), f"{path.name} copies {source}, which is not there"


def test_the_build_context_holds_what_the_images_copy():
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    for path in DOCKERFILES:
        for copied in re.findall(r"^COPY (?!--from)(.+)$", path.read_text(), re.MULTILINE):
            assert set(copied.split()[:-1]) <= allowed


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_are_what_systemd_reads_and_have_least_privilege(path, tmp_path):
    text = path.read_text(encoding="utf-8")
    for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet="):
        assert f"\n{line}\n" in text
    assert "\nUser=musichash\n" in text
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    for unit in (DEPLOY / "systemd").glob("musichash*"):
        content = unit.read_text().replace("/opt/musichash/bin/musichash", sys.executable)
        (tmp_path / unit.name).write_text(content)
    said = subprocess.run(
        [analyze, "verify", "--man=no", str(tmp_path / path.name)],
        check=False,
        capture_output=True,
        text=True,
    )
    ours = [line for line in said.stderr.splitlines() if "musichash" in line]
    assert [line for line in ours if "Unknown" in line or "Failed to parse" in line] == []


def test_secrets_can_be_made_and_prove_each_other(tmp_path):
    folder = tmp_path / "deploy"
    folder.mkdir()
    shutil.copy(DEPLOY / "make-secrets.sh", folder)
    for _ in range(2):  # the second time nothing changes
        subprocess.run([folder / "make-secrets.sh"], check=True, capture_output=True)
        made = {path.name: path.read_bytes() for path in (folder / "secrets").iterdir()}
    subprocess.run([folder / "make-secrets.sh"], check=True, capture_output=True)
    assert made == {path.name: path.read_bytes() for path in (folder / "secrets").iterdir()}
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder / "secrets").iterdir())
    pair = [folder / "secrets" / name for name in ("ca.pem", "own.pem")]
    subprocess.run(
        ["openssl", "verify", "-CAfile", *map(str, pair)], check=True, capture_output=True
    )


def make_serve(home, *variables):
    return subprocess.run(
        [
            *("make", "--no-print-directory", "serve", "READY="),
            *(f"BIN={Path(sys.executable).parent}", "SERVE_OPTIONS=--dry-run --timezone UTC"),
            *variables,
        ],
        env=os.environ | {"HOME": str(home), "COLUMNS": "200"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_one_command_of_a_clone_serves_a_folder_of_music(tmp_path):
    (tmp_path / "My Music").mkdir()
    said = make_serve(tmp_path, "MUSIC=~/My Music", "AT=03:15")
    assert said.returncode == 0, said.stderr
    assert "server credentials --show" in said.stdout
    assert said.stdout.count("03:15 UTC") == 3
    assert f"catalogues  {tmp_path / 'My Music'}\n" in said.stdout
    assert f"{tmp_path / 'music.store'}\n" in said.stdout
    assert "make serve MUSIC=~/Music" in make_serve(tmp_path).stderr
