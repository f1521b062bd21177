"""Look the pinned dependencies up in the databases of known vulnerabilities, by pip-audit.

Fails for a vulnerability that deploy/audit-allowed.toml does not list, or lists no longer. A
machine without a way to such a database skips the audit and says so: a missing network fails no
build. A mirror of the index may answer that it knows of none, whatever it is asked; so a version
that is known to be vulnerable is asked for first, and only who knows that is believed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "deploy" / "constraints.txt"
ALLOWED = ROOT / "deploy" / "audit-allowed.toml"
PIP_AUDIT = "pip-audit==2.10.1"
SERVICES = ("pypi", "osv")
CANARY = "jinja2==2.4.1"
"""A version with vulnerabilities since 2014; not ours."""

PATIENCE_S = 600


class AllowedListError(ValueError):
    """The list of allowed vulnerabilities is not what it must be."""


@dataclass(frozen=True)
class Allowed:
    """A vulnerability that is known, and does not concern us until a day."""

    vulnerability: str
    package: str
    reason: str
    until: date


@dataclass(frozen=True)
class Found:
    """A vulnerability of a package that we install."""

    vulnerability: str
    aliases: tuple[str, ...]
    package: str
    version: str
    fixed_in: tuple[str, ...]


def read_allowed(text: str) -> list[Allowed]:
    """Read the list of allowed vulnerabilities; each needs a reason and a last day."""
    entries = []
    for entry in tomllib.loads(text).get("allowed", []):
        wanted = {"vulnerability": str, "package": str, "reason": str, "until": date}
        wrong = [name for name, kind in wanted.items() if type(entry.get(name)) is not kind]
        if wrong or set(entry) != set(wanted) or len(entry["reason"].split()) < 4:
            raise AllowedListError(
                f"{entry} needs vulnerability, package, a reason of a few words, and until, a day"
            )
        entries.append(Allowed(**entry))
    return entries


def found_in(answer: dict[str, Any]) -> tuple[list[Found], list[str]]:
    """Give the vulnerabilities of an answer of pip-audit, and the packages it knows nothing of."""
    found, unknown = [], []
    for dependency in answer["dependencies"]:
        if "skip_reason" in dependency:
            unknown.append(dependency["name"])
        found += [
            Found(
                vulnerability["id"],
                tuple(vulnerability.get("aliases", ())),
                dependency["name"],
                dependency["version"],
                tuple(vulnerability.get("fix_versions", ())),
            )
            for vulnerability in dependency.get("vulns", ())
        ]
    return found, unknown


def judge(found: Sequence[Found], allowed: Sequence[Allowed], today: date) -> list[str]:
    """Say what must not stay: one line for each vulnerability that is not allowed today."""
    lines = []
    for one in found:
        names = {one.vulnerability, *one.aliases}
        known = [
            each for each in allowed if each.vulnerability in names and each.package == one.package
        ]
        if any(today <= each.until for each in known):
            continue
        fix = f"fixed in {', '.join(one.fixed_in)}" if one.fixed_in else "not fixed yet"
        ended = f"; was allowed until {max(each.until for each in known)}" if known else ""
        lines.append(f"{one.package} {one.version}: {one.vulnerability} ({fix}{ended})")
    return lines


def ask(python: Path, service: str, requirements: Path) -> dict[str, Any] | None:
    """Let pip-audit ask a service; None if it cannot be asked."""
    command = [str(python), "-m", "pip_audit", "--requirement", str(requirements), "--no-deps"]
    command += ["--disable-pip", "--vulnerability-service", service, "--format", "json"]
    try:
        done = subprocess.run(
            [*command, "--progress-spinner", "off", "--timeout", "20"],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        answer = json.loads(done.stdout)
    except (ValueError, subprocess.TimeoutExpired):
        return None
    return answer if isinstance(answer, dict) and "dependencies" in answer else None


def knows_the_canary(python: Path, service: str) -> bool:
    """Tell whether a service knows what everybody knows."""
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "canary.txt")
        requirements.write_text(f"{CANARY}\n", encoding="utf-8")
        answer = ask(python, service, requirements)
    return answer is not None and bool(found_in(answer)[0])


def installed(folder: Path) -> Path | None:
    """Give the Python of an environment with pip-audit; None if it cannot be installed."""
    python = folder / "bin" / "python"
    try:
        if not python.exists():
            venv.create(folder, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*command, PIP_AUDIT], check=True, capture_output=True, timeout=PATIENCE_S)
    except (OSError, subprocess.SubprocessError):
        return None
    return python


def skip(why: str) -> int:
    """Say that nothing was looked up."""
    print(f"audit of dependencies SKIPPED: {why}; nothing is known of their vulnerabilities")
    return 0


def main() -> int:
    """Audit; give the exit code: 0 nothing found or skipped, 1 found, 2 the list is wrong."""
    parser = argparse.ArgumentParser(description="Audit the pinned dependencies.")
    parser.add_argument("--environment", type=Path, default=ROOT / ".venv" / "audit")
    environment = parser.parse_args().environment
    try:
        allowed = read_allowed(ALLOWED.read_text(encoding="utf-8"))
    except ValueError as error:
        print(f"error: {ALLOWED}: {error}", file=sys.stderr)
        return 2
    python = installed(environment)
    if python is None:
        return skip(f"{PIP_AUDIT} cannot be installed here")
    service = next((name for name in SERVICES if knows_the_canary(python, name)), None)
    answer = None if service is None else ask(python, service, CONSTRAINTS)
    if answer is None:
        return skip(f"neither of {', '.join(SERVICES)} answers here")
    found, unknown = found_in(answer)
    bad = judge(found, allowed, datetime.now(UTC).date())
    print(
        f"{len(answer['dependencies'])} pinned packages looked up at {service}: {len(found)} "
        f"vulnerabilities, {len(found) - len(bad)} of them allowed; unknown there: "
        f"{', '.join(unknown) or 'none'}"
    )
    for line in bad:
        print(f"VULNERABLE {line}")
    if bad:
        print("raise the version in deploy/constraints.txt, or list it in audit-allowed.toml there")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
