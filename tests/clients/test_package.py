"""The package by itself: what it asks for, and what `pip install` brings."""

import ast
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "clients" / "python"


def imported(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    names = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names}


def test_it_imports_httpx2_and_itself_alone() -> None:
    files = list((FOLDER / "captioner_client").glob("*.py"))
    found = set().union(*map(imported, files)) - sys.stdlib_module_names
    assert found == {"httpx2", "captioner_client"}


def test_it_asks_for_what_is_locked() -> None:
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [asked] = map(Requirement, project["dependencies"])
    assert asked.name == "httpx2"
    assert version("httpx2") in asked.specifier


def test_it_can_be_installed(tmp_path: Path) -> None:
    """From a copy, as a build leaves files behind; without the network."""
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "\npip install clients/python\n" in readme
    shutil.copytree(FOLDER, tmp_path / "clients" / "python")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    pip += ["--no-build-isolation", "--target", "site", "clients/python"]
    subprocess.run(pip, cwd=tmp_path, check=True)
    code = "import captioner_client as c; print(c.__file__, c.__version__)"
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert told == f"{tmp_path}/site/captioner_client/__init__.py 1.0.0\n"
    assert (tmp_path / "site" / "captioner_client" / "py.typed").exists()
    assert (tmp_path / "site" / "captioner_client-1.0.0.dist-info" / "METADATA").exists()
