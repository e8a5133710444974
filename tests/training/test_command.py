"""How commands of training end: with one line, whatever ends them, Ctrl-C in a real process among it."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
import yaml
from safetensors import SafetensorError

from model.errors import CheckpointError
from tests.tiny import write_tiny_checkpoint
from tests.training.stages.test_scst import RECIPE as SCST_RECIPE
from tests.training.tiny_data import RECIPE, write_data
from training import __main__ as command
from training.errors import INTERRUPTED, DataError
from training.output import check_writable


def merge_fails(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    """Run a command in which `error` is raised."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(command, "merge_folders", fail)
    return command.main(["merge", "one", "--out", "two"])


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (DataError("no photos"), 1, "no photos"),
        (CheckpointError("no weights"), 1, "no weights"),
        (FileExistsError(17, "File exists", "runs"), 1, "runs: File exists"),
        (OSError("no name for it"), 1, "no name for it"),
        (SafetensorError("No space left on device"), 1, "No space left on device"),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted: the same command goes on from the last snapshot"),
    ],
)
def test_what_ends_a_command_is_one_line(
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: int,
    message: str,
) -> None:
    assert merge_fails(monkeypatch, error) == status
    (line,) = caplog.messages
    assert line.startswith(message)


@pytest.mark.parametrize("place", ["file", "file/out", "/proc/out"])
def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=rf"^{tmp_path / place} cannot be written to: [A-Z]"):
        check_writable(tmp_path / place)
    check_writable(tmp_path / "new" / "folder")
    assert not list((tmp_path / "new" / "folder").iterdir())


def test_a_read_only_folder_is_told_before_anything_is_decoded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, init = write_data(tmp_path / "data"), write_tiny_checkpoint(tmp_path / "init")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "scst.yaml").write_text(SCST_RECIPE)
    (tmp_path / "file").touch()
    given = ["--data", str(data), "--out", str(tmp_path / "file")]
    cache = ["--cache", str(tmp_path / "cache")]
    stages: list[list[str]] = [
        ["captions", "--config", str(tmp_path / "recipe.yaml"), *cache],
        ["scst", "--init", str(init), "--config", str(tmp_path / "scst.yaml"), *cache],
        ["text"],
    ]
    for stage in stages:
        caplog.clear()
        assert command.main([*stage, *given]) == 1
        assert caplog.messages == [f"{tmp_path / 'file'} cannot be written to: File exists"]
    assert not (tmp_path / "cache").exists()


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyError):
        merge_fails(monkeypatch, KeyError("defect"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing command"),
        (["train"], "No such command 'train'"),
        (["captions"], "Missing option '--data'"),
        (["scst", "--data", "a", "--init", "b", "--rate", "1"], "No such option"),
        (["text", "--data", "a", "--save-seconds", "soon"], "--save-seconds"),
        (["evaluate", "--data", "a"], "one of --checkpoint and --server is needed"),
        (["evaluate", "--data", "a", "--checkpoint", "b", "--server", "c"], "one of --checkpoint and"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert command.main(arguments) == 2
    told = capsys.readouterr()
    assert not told.out
    (line,) = told.err.splitlines()
    assert line.startswith("error: ")
    assert message in line


STAGES = ("captions", "scst", "pretrain", "text")


def test_options_have_the_same_names_in_all_stages(capsys: pytest.CaptureFixture[str]) -> None:
    for stage in STAGES:
        assert command.main([stage, "--help"]) == 0
        told = capsys.readouterr().out
        assert all(f"--{name} " in told for name in ("config", "out", "save-seconds")), stage
    assert command.main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(f"  {stage} " in told for stage in STAGES)


PAGES = [Path("README.md"), *Path("docs").glob("*.md"), *Path("checkpoints").glob("*/README.md")]


def documented() -> list[list[str]]:
    """Commands of training that the documents tell, by their arguments."""
    text = "\n".join(page.read_text(encoding="utf-8").replace("\\\n", " ") for page in PAGES)
    lines = re.findall(r"^\.venv/bin/.*-m training (.+)$", text, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("arguments", documented(), ids=lambda arguments: arguments[0])
def test_documented_commands_have_options_that_there_are(arguments: list[str]) -> None:
    name, *rest = arguments
    commands = typer.main.get_command(command.app).commands  # type: ignore[attr-defined]
    assert commands[name].make_context(name, rest).params  # raises for an option that there is not


def test_there_are_documented_commands() -> None:
    assert {arguments[0] for arguments in documented()} >= {"captions", "text", "scst", "merge"}


def listen() -> None:
    """Let Ctrl-C through: a shell makes what it starts in the background ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_ends_a_run_with_one_line_and_it_can_be_resumed(tmp_path: Path) -> None:
    recipe = yaml.safe_load(RECIPE) | {"epochs": 100_000, "report_epochs": 100_000}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (write_data(tmp_path / "data") / "captions_dev.json").unlink()
    given = {"data": "data", "config": "recipe.yaml", "out": "out", "cache": "cache"}
    arguments = [part for name, at in given.items() for part in (f"--{name}", str(tmp_path / at))]
    command = [sys.executable, "-m", "training", "captions", *arguments, "--save-seconds", "0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    snapshot = tmp_path / "out" / "snapshot.safetensors"
    ended = []
    for written in (0, 1):  # the second run resumes the first one
        before = snapshot.stat().st_mtime_ns if written else 0
        run = subprocess.Popen(
            command,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=listen,  # noqa: PLW1509  # no threads run here
        )
        try:
            deadline = time.monotonic() + 120
            while not snapshot.exists() or snapshot.stat().st_mtime_ns == before:
                assert time.monotonic() < deadline
                assert run.poll() is None
                time.sleep(0.05)
            run.send_signal(signal.SIGINT)
            said = run.communicate(timeout=60)[1]
        finally:
            run.kill()
            run.wait()
        assert run.returncode == INTERRUPTED
        ended.append(said.splitlines())
    for lines in ended:
        assert "Traceback" not in "\n".join(lines)
        assert "interrupted: the same command goes on" in lines[-1]
    assert "decoding photos: photo 1 of 4" in ended[0][0]
    assert "nothing is scored" in ended[0][1]
    assert "resuming after step" in ended[1][1]
