"""The pinned versions are all that a fresh environment installs, and the audit of them judges."""

import importlib.util
import re
import sys
import tomllib
from datetime import date
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {"cpu", "dev"}
"""What 'make' and the images install; the extras for GPUs bring CUDA's libraries."""


def pins():
    lines = (ROOT / "deploy" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    names = [re.fullmatch(r"([A-Za-z0-9_.-]+)==([A-Za-z0-9_.+!-]+)", line) for line in lines]
    assert None not in names, lines[names.index(None)]
    return {canonicalize_name(found[1]): Version(found[2]) for found in names}


def project_requirements():
    """List what the project asks for itself; extras that extras name are followed."""
    extras, todo = set(), set(EXTRAS)
    found = [Requirement(text) for text in PROJECT["dependencies"]]
    while todo:
        extra = todo.pop()
        extras.add(extra)
        for requirement in map(Requirement, PROJECT["optional-dependencies"][extra]):
            if requirement.name == PROJECT["name"]:
                todo |= requirement.extras - extras
            else:
                found.append(requirement)
    return found


def installed_for(requirements):
    """Follow requirements through what is installed: name -> version."""
    found, seen, todo = {}, set(), list(requirements)
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        package = distribution(name)
        found[name] = Version(package.version)
        for inner in map(Requirement, package.requires or ()):
            extras = requirement.extras | {""}
            if inner.marker is None or any(inner.marker.evaluate({"extra": e}) for e in extras):
                todo.append(inner)
    return found


def test_everything_that_is_installed_is_pinned_and_nothing_else():
    try:
        installed = installed_for(project_requirements())
    except PackageNotFoundError as error:
        pytest.skip(f"this environment was not made with all extras: {error}")
    pinned = pins()
    assert set(installed) - set(pinned) == set()
    assert set(pinned) - set(installed) == set()
    wrong = {
        name: (str(version), str(pinned[name]))
        for name, version in installed.items()
        if version.public != pinned[name].public  # torch's builds for a CPU say so behind a +
    }
    assert wrong == {}


def test_what_the_project_asks_for_allows_what_is_pinned():
    pinned = pins()
    for requirement in project_requirements():
        assert pinned[canonicalize_name(requirement.name)] in requirement.specifier, requirement


@pytest.fixture(scope="module")
def audit():
    spec = importlib.util.spec_from_file_location(
        "audit_of_dependencies", ROOT / ".ci" / "audit.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its records look themselves up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


ANSWER = {
    "dependencies": [
        {"name": "good", "version": "1.0", "vulns": []},
        {
            "name": "bad",
            "version": "2.0",
            "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.1"]}],
        },
        {"name": "own", "skip_reason": "not found"},
    ]
}
ALLOW = """
[[allowed]]
vulnerability = "{}"
package = "{}"
reason = "the broken part is never called"
until = 2026-12-31
"""


def test_a_vulnerability_is_named_with_its_remedy(audit):
    found, unknown = audit.found_in(ANSWER)
    assert unknown == ["own"]
    assert audit.judge(found, [], date(2026, 1, 1)) == ["bad 2.0: PYSEC-1 (fixed in 2.1)"]


@pytest.mark.parametrize("name", ["PYSEC-1", "CVE-1"])
def test_what_is_allowed_passes_until_its_day(audit, name):
    found, _ = audit.found_in(ANSWER)
    allowed = audit.read_allowed(ALLOW.format(name, "bad"))
    assert audit.judge(found, allowed, date(2026, 12, 31)) == []
    (line,) = audit.judge(found, allowed, date(2027, 1, 1))
    assert "was allowed until 2026-12-31" in line


def test_what_is_allowed_for_another_package_does_not_pass(audit):
    found, _ = audit.found_in(ANSWER)
    allowed = audit.read_allowed(ALLOW.format("PYSEC-1", "good"))
    assert len(audit.judge(found, allowed, date(2026, 1, 1))) == 1


@pytest.mark.parametrize(
    "text",
    [
        '[[allowed]]\nvulnerability = "X"\npackage = "y"\nreason = "because it is so"\n',
        ALLOW.format("X", "y").replace("the broken part is never called", "later"),
        ALLOW.format("X", "y").replace("2026-12-31", '"soon"'),
        ALLOW.format("X", "y") + "typo = 1\n",
    ],
)
def test_an_entry_without_reason_or_day_is_refused(audit, text):
    with pytest.raises(audit.AllowedListError, match="needs vulnerability"):
        audit.read_allowed(text)


def test_the_list_of_the_project_is_in_order(audit):
    audit.read_allowed(audit.ALLOWED.read_text(encoding="utf-8"))


def test_a_service_that_cannot_be_asked_is_not_believed(audit, tmp_path):
    silent = tmp_path / "python"
    silent.write_text("#!/bin/sh\necho 'no connection' >&2\nexit 1\n")
    silent.chmod(0o755)
    assert audit.ask(silent, "osv", audit.CONSTRAINTS) is None
    assert not audit.knows_the_canary(silent, "osv")
    silent.write_text(
        """#!/bin/sh\necho '{"dependencies": [{"name": "x", "skip_reason": "?"}]}'\n"""
    )
    assert not audit.knows_the_canary(silent, "pypi")
    assert audit.skip("it is so") == 0
