"""The shape of the repository: folders, modules, the README beside the command line."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import typer.main

from flows import cli
from musichash_core.config import parse_config

ROOT = Path(__file__).parents[2]
PACKAGES = ("flows", "tasks", "storage", "musichash_core")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted(path for path in (ROOT / "tests").rglob("*.py"))

TOP_LEVEL = {
    *PACKAGES,
    "tests",
    "deploy",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "Makefile",
    ".ci",
}
DOTFILES = {
    ".dockerignore",
    ".gitignore",
    ".gitattributes",
    ".importlinter",
    ".pre-commit-config.yaml",
}
MAX_LINES = 500
NAMELESS = {"utils", "util", "helpers", "helper", "common", "base", "misc", "shared"}
README = (ROOT / "README.md").read_text(encoding="utf-8")


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def known_to_git():
    """Files that are tracked, or would be: what is ignored is nobody's business."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("this is no git checkout", allow_module_level=True)
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]


# --- files ---


def test_the_top_level_holds_what_it_may():
    top = {name.split("/")[0] for name in known_to_git()}
    assert top - DOTFILES == TOP_LEVEL


def test_tests_are_no_packages():
    assert not [name for name in known_to_git() if re.fullmatch(r"tests/(.*/)?__init__\.py", name)]


def test_deploy_holds_no_python():
    assert not [
        name for name in known_to_git() if name.startswith("deploy/") and name.endswith(".py")
    ]


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=name_of)
def test_a_module_is_short_and_says_what_it_is(path):
    text = path.read_text(encoding="utf-8")
    if path in SOURCES:
        assert text.count("\n") <= MAX_LINES
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert path.stem not in NAMELESS


def test_test_modules_stand_where_their_subject_does():
    folders = {
        "core": "musichash_core",
        "storage": "storage",
        "tasks": "tasks",
        "flows": "flows",
    }
    known = (
        set(folders)
        | {"architecture", "integration", "benchmarks", "data"}
        | {
            "faults",
            "stateful",
        }
    )
    for path in TESTS:
        below = path.relative_to(ROOT / "tests").parts
        assert len(below) == 1 or below[0] in known, name_of(path)


# --- README ---


def commands(group=None, path=()):
    group = group or typer.main.get_command(cli.app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            if command.invoke_without_command:  # a group that is a command by itself too
                yield " ".join((*path, name)), command
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme(name):
    assert f"`musichash {name}`" in README


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_in_its_help(name):
    assert re.search(rf"\[bold\]Examples?:\[/bold\]\s+musichash {name} ", COMMANDS[name].help)


GROUPS = "bench|collections|models|replica|server|snapshots"
MENTION = re.compile(rf"musichash ((?:(?:{GROUPS}) )?[a-z]+)((?: [^'`\n;,]*)?)")


def mentions():
    """Every command line that a message, a help text or a document tells people to use."""
    documents = [ROOT / name for name in known_to_git() if name.endswith((".md", "Makefile"))]
    for path in [*SOURCES, *documents]:
        text = path.read_text(encoding="utf-8")
        in_one_line = re.sub(r'"\n\s*f?"', "", text)  # literals that stand below one another
        quoted = re.findall(r"['`](musichash [^'`]+)['`]", in_one_line)
        shown = re.findall(r"(?m)^\s*(?:\S*/)?(musichash [a-z].*)$", text)
        for line in quoted + (shown if path in documents else []):
            yield name_of(path), re.sub(r"\s+", " ", line)


@pytest.mark.parametrize(("place", "line"), sorted(set(mentions())))
def test_a_command_line_that_people_are_told_exists(place, line):
    found = MENTION.match(line)
    assert found, line
    name, arguments = found.groups()
    name = name if name in COMMANDS else name.split()[0]
    assert name in COMMANDS, f"{place}: {line}"
    known = {option for entry in COMMANDS[name].params for option in entry.opts} | {"--help"}
    for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", arguments):
        assert option in known, f"{place}: {line}"


def test_settings_shown_in_the_readme_are_accepted():
    blocks = re.findall(r"```toml\n(.*?)```", README, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        parse_config(tomllib.loads(block), source="README.md")


def test_the_settings_of_the_demonstration_are_accepted():
    for path in (ROOT / "deploy").glob("*.toml"):
        parse_config(tomllib.loads(path.read_text(encoding="utf-8")), source=path.name)


def test_python_shown_in_the_readme_names_things_that_exist():
    for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = __import__(node.module, fromlist=["x"])
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{node.module}.{alias.name}"


def test_files_that_the_readme_links_to_exist():
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", README)
    assert targets
    assert not [target for target in targets if not (ROOT / target).exists()]


def test_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?m)(?:^|`)make ([a-z-]+)", README):
        assert re.search(rf"(?m)^{target}:", makefile), target


def test_no_absolute_path_of_a_developers_machine_is_in_the_repository():
    for name in known_to_git():
        if name.endswith((".py", ".md", ".toml", ".yaml", ".yml", ".j2", "Makefile")):
            text = (ROOT / name).read_text(encoding="utf-8")
            assert not re.search(r"(?<![\w.])/(work|home/[a-z]|Users)/", text), name
