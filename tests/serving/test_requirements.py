"""The lock file holds every pin, and hooks run what `make lint` runs."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.serving.conftest import ROOT

PIN = re.compile(r"([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.]*)")


def pins(name: str) -> dict[str, str]:
    """Package → version, of a file whose every line is a pin or a comment."""
    found: dict[str, str] = {}
    for line in (ROOT / name).read_text().splitlines():
        if line and not line.startswith("#"):
            pin = PIN.fullmatch(line)
            assert pin, f"{name}: {line}"
            found[canonicalize_name(pin[1])] = pin[2]
    return found


LOCK = pins("requirements.lock")


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_pin_is_in_the_lock_file(name: str) -> None:
    assert {package: LOCK.get(package) for package in pins(name)} == pins(name)


def test_what_the_package_asks_for_is_what_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    for requirement in map(Requirement, asked):
        assert LOCK[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_the_lock_file_names_each_package_once_in_order() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    names = [canonicalize_name(line.partition("==")[0]) for line in lines if not line.startswith("#")]
    assert names == sorted(set(names))


def test_hooks_run_what_lint_runs() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (repository,) = config["repos"]
    assert repository["repo"] == "local"
    hooks = repository["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}  # nothing is fetched
    assert not any(hook["pass_filenames"] for hook in hooks)
    done = subprocess.run(
        [
            "make",
            "-n",
            "--no-print-directory",
            "--assume-old=.venv/.installed-dev",
            "--assume-old=serving/inference_pb2.py",
            "lint",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [hook["entry"] for hook in hooks] == done.stdout.splitlines()


def test_lock_notes_names_and_versions_alone(tmp_path: Path) -> None:
    """As pip lists what came from an index of its own, from a file, and this project itself."""
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        '#!/bin/sh\necho "$*" >> ran\ncase "$*" in *" list "*) echo torch==2.13.0+cpu; echo x==1;; esac\n'
    )
    python.chmod(0o755)
    subprocess.run(["make", "-s", "lock"], cwd=tmp_path, check=True)
    comment, *lines = (tmp_path / "requirements.lock").read_text().splitlines()
    assert comment.startswith("# ")
    assert lines == ["torch==2.13.0", "x==1"]
    installed, listed = (tmp_path / "ran").read_text().splitlines()
    assert "--constraint" not in installed
    assert "--exclude pip --exclude captioner" in listed
