"""What `make` runs, seen by a Python that only notes what it is asked for."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.serving.conftest import ROOT

PYTHON = r"""#!/bin/sh
echo "$*" >> ran
case "$*" in
  "-m archive"*) touch "$(echo "$*" | sed 's/.*--file \([^ ]*\).*/\1/')" ;;
  *"serving check"*) test ! -e taken ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with everything in place but an archive."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.txt", "requirements.lock", "requirements-dev.txt", "serving/inference.proto"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in (".venv/.installed", ".venv/.installed-dev", "serving/inference_pb2.py"):
        (tmp_path / name).touch()
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


def make(clone: Path, *arguments: str) -> tuple[int, list[str]]:
    """Run make; returns its exit code and the commands that it gave to Python."""
    (clone / "ran").write_text("")
    done = subprocess.run(["make", *arguments], cwd=clone, capture_output=True, text=True, check=False)
    return done.returncode, (clone / "ran").read_text().splitlines()


def built(clone: Path, *arguments: str) -> list[str]:
    return [command for command in make(clone, *arguments)[1] if command.startswith("-m archive")]


def test_serve_builds_an_archive_where_there_is_none(clone: Path) -> None:
    (command,) = built(clone, "serve")
    assert "--checkpoint checkpoints/flickr8k-coco --name captioner --version 1.0" in command
    assert built(clone, "serve") == []
    assert len(built(clone, "serve", "NAME=mine")) == 1


@pytest.mark.parametrize("given", [["CHECKPOINT=mine"], ["NAME=mine"]])
def test_serve_keeps_what_archive_has_built(clone: Path, given: list[str]) -> None:
    assert len(built(clone, "archive", *given)) == 1
    code, commands = make(clone, "serve", *[one for one in given if one.startswith("NAME")])
    assert code == 0
    assert not any(command.startswith("-m archive") for command in commands)
    name = "mine" if "NAME=mine" in given else "captioner"
    assert commands[-1] == f"-m serving --name {name} start --sample examples/dog.jpg"


def test_a_version_has_a_file_of_its_own(clone: Path) -> None:
    built(clone, "archive")
    (clone / "captioner.mar").write_text("the one that is served")
    (command,) = built(clone, "archive", "VERSION=2.0")
    assert "--name captioner --version 2.0 --file captioner-2.0.mar" in command
    assert (clone / "captioner.mar").read_text() == "the one that is served"
    _, commands = make(clone, "serve", "VERSION=2.0")
    assert commands[-1].startswith("-m serving --name captioner start --models captioner-2.0.mar ")


def test_serve_goes_on_with_what_was_rolled_out(clone: Path) -> None:
    (clone / "build/server/versions").mkdir(parents=True)
    (clone / "build/server/versions/captioner.json").touch()
    _, commands = make(clone, "serve")
    assert commands[1:] == ["-m serving --name captioner start --sample examples/dog.jpg"]
    _, (_, archive, start) = make(clone, "serve", "MODELS=captioner.mar")
    assert archive.startswith("-m archive ")
    assert start == "-m serving --name captioner start --models captioner.mar --sample examples/dog.jpg"


def test_operating_a_server_passes_on_what_is_given(clone: Path) -> None:
    given = ["MAR=a.mar", "PHOTOS=b", "GATE=c", "BOUNDS=p95=2 watch=9", "DRY=1"]
    _, (command,) = make(clone, "rollout", *given)
    expected = "rollout a.mar --photos b --gate c --split dev --bounds p95=2 watch=9 --dry-run"
    assert command == f"-m serving --name captioner {expected}"
    for target, *words in (["rollback"], ["status"], ["release"], ["scale", "WORKERS=3"]):
        _, (command,) = make(clone, target, *words)
        assert command == " ".join(["-m serving --name captioner", target, *(word[8:] for word in words)])
    for incomplete in ("rollout", "scale"):
        assert make(clone, incomplete) == (2, [])


@pytest.mark.parametrize("given", ["CHECKPOINT=mine", "VERSION=9.9", "REVISION=abc"])
def test_serve_builds_again_from_what_is_named(clone: Path, given: str) -> None:
    make(clone, "archive")
    (command,) = built(clone, "serve", given)
    assert given.partition("=")[2] in command


def test_nothing_is_built_where_no_server_can_start(clone: Path) -> None:
    (clone / "taken").touch()
    code, commands = make(clone, "serve", "CHECKPOINT=mine")
    assert code != 0
    assert commands == ["-m serving check"]


def test_caption_passes_options_on(clone: Path) -> None:
    _, (command,) = make(clone, "caption", "IMAGE=dog.jpg", 'OPTIONS=num_beams=3 prompt="a dog"', "GRPC=1")
    assert command == "-m serving --name captioner caption dog.jpg num_beams=3 prompt=a dog --grpc"
    _, (command,) = make(clone, "caption", "IMAGE=dog.jpg")
    assert command == "-m serving --name captioner caption dog.jpg"


def test_load_gets_what_is_given(clone: Path) -> None:
    _, (command,) = make(clone, "load")
    assert command == "-m bench.load --name captioner --seconds 20 --most 64"
    _, (command,) = make(clone, "load", "NAME=mine", "SECONDS=5", "CLIENTS=8")
    assert command == "-m bench.load --name mine --seconds 5 --most 8"


def test_training_and_evaluation_get_what_is_given(clone: Path) -> None:
    given = {name: name.lower() for name in ("DATA", "INIT", "CONFIG", "ENCODER", "DECODER", "STEM", "OUT")}
    _, (command,) = make(clone, "train", *(f"{name}={value}" for name, value in given.items()))
    assert command.startswith("-m training captions --data data --out out ")
    assert all(f"--{value} {value}" in command for value in given.values())
    _, (command,) = make(clone, "train", "DATA=data")
    assert command == "-m training captions --data data --out runs/train"
    _, (command,) = make(clone, "evaluate", "DATA=data", "SCORES=a.json", "REPORT=b.html", "SPICE=1")
    expected = "--checkpoint checkpoints/flickr8k-coco --out a.json --report b.html --spice"
    assert command == f"-m training evaluate --data data --split dev {expected}"
    _, (command,) = make(clone, "evaluate", "DATA=data", "SERVER=http://a", "SPLIT=test")
    assert command == "-m training evaluate --data data --split test --server http://a --name captioner"
