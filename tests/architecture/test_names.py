"""Guards of our import names: `flows`, `tasks`, `storage` are words that others use too."""

import ast
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("flows", "tasks", "storage", "musichash_core")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def test_no_other_distribution_provides_one_of_our_names():
    providers = packages_distributions()
    assert [set(providers[name]) for name in PACKAGES] == [{"musichash"}] * len(PACKAGES)


def test_our_names_are_imported_from_one_checkout():
    places = {Path(__import__(name).__file__).parents[1] for name in PACKAGES}
    assert len(places) == 1


def test_the_wheel_holds_our_four_packages_and_their_data_only(tmp_path):
    """Built from a copy of what git knows, so that the checkout is left as it is."""
    copy = tmp_path / "checkout"
    copy.mkdir()
    known = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if known.returncode:
        pytest.skip("this is no git checkout")
    for name in known.stdout.decode().rstrip("\0").split("\0"):
        if (ROOT / name).is_file() and not name.startswith("tests/data/music"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [
            *(sys.executable, "-c"),
            "import setuptools.build_meta as b, sys; b.build_wheel(sys.argv[1])",
            str(tmp_path),
        ],
        cwd=copy,
        capture_output=True,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == set(PACKAGES)
    assert "tasks/templates/report.html.j2" in names
    packed = {name for name in names if name.endswith(".py")}
    assert packed == {name_of(path) for path in SOURCES}


def test_packages_are_an_allowlist():
    from setuptools import find_packages

    found = find_packages(str(ROOT), include=[f"{name}*" for name in PACKAGES])
    assert {name.split(".")[0] for name in found} == set(PACKAGES)


def test_no_module_in_flows_is_named_like_another():
    """Prefect puts the folder of a flow file first on the import path."""
    others = set(sys.stdlib_module_names) | set(packages_distributions())
    ours = {path.stem for path in (ROOT / "flows").iterdir() if path.suffix == ".py"}
    ours |= {path.name for path in (ROOT / "flows").iterdir() if path.is_dir()} - {"__pycache__"}
    assert ours & others == set()


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_are_absolute_and_by_full_name(path):
    siblings = {other.stem for other in path.parent.glob("*.py")} - {"__init__"}
    taken = set(sys.stdlib_module_names) | set(PACKAGES)
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            names = [node.module.split(".")[0]]
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
        else:
            continue
        bare = (set(names) & siblings) - taken
        assert not bare, f"line {node.lineno}: {bare} is a sibling, imported by its bare name"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_tasks_are_bound_not_decorated(path):
    """A decorated function is shipped to workers by value and loses its module's caches."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                name = called.attr if isinstance(called, ast.Attribute) else called.id
                assert name != "task", f"line {node.lineno}: bind the task, do not decorate"


def test_only_flow_files_hold_flows():
    """A deployment loads a flow file by its path: nothing may import it for anything else."""
    holders = [
        name_of(path)
        for path in SOURCES
        if any(
            isinstance(node, ast.FunctionDef)
            and any("flow" in ast.unparse(decorator) for decorator in node.decorator_list)
            for node in ast.walk(tree_of(path))
        )
    ]
    assert holders == ["flows/backfill.py", "flows/nightly.py"]
