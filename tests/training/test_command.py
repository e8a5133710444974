"""How commands of training end: with one line, whatever ends them, Ctrl-C in a real process among it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from safetensors import SafetensorError

from model.errors import CheckpointError
from tests.tiny import write_tiny_checkpoint
from tests.training.data import RECIPE, write_data
from tests.training.test_scst import RECIPE as SCST_RECIPE
from training import scst, text, train
from training.command import INTERRUPTED, check_writable, ends_in_one_line
from training.errors import DataError


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
    caplog: pytest.LogCaptureFixture, error: BaseException, status: int, message: str
) -> None:
    @ends_in_one_line
    def main() -> int:
        raise error

    assert main() == status
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data, init = write_data(tmp_path / "data"), write_tiny_checkpoint(tmp_path / "init")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "scst.yaml").write_text(SCST_RECIPE)
    (tmp_path / "file").touch()
    given = ["--data", str(data), "--out", str(tmp_path / "file")]
    cache = ["--cache", str(tmp_path / "cache")]
    commands: list[tuple[Callable[[], int], list[str]]] = [
        (train.main, ["--config", str(tmp_path / "recipe.yaml"), *cache]),
        (scst.main, ["--init", str(init), "--config", str(tmp_path / "scst.yaml"), *cache]),
        (text.main, []),
    ]
    for main, more in commands:
        caplog.clear()
        monkeypatch.setattr("sys.argv", ["command", *given, *more])
        assert main() == 1
        assert caplog.messages == [f"{tmp_path / 'file'} cannot be written to: File exists"]
    assert not (tmp_path / "cache").exists()


def test_a_defect_keeps_its_traceback() -> None:
    @ends_in_one_line
    def main() -> int:
        raise KeyError("defect")

    with pytest.raises(KeyError):
        main()


def listen() -> None:
    """Let Ctrl-C through: a shell makes what it starts in the background ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_ends_a_run_with_one_line_and_it_can_be_resumed(tmp_path: Path) -> None:
    recipe = yaml.safe_load(RECIPE) | {"epochs": 100_000, "report_epochs": 100_000}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (write_data(tmp_path / "data") / "captions_dev.json").unlink()
    given = {"data": "data", "config": "recipe.yaml", "out": "out", "cache": "cache"}
    arguments = [part for name, at in given.items() for part in (f"--{name}", str(tmp_path / at))]
    command = [sys.executable, "-m", "training.train", *arguments, "--save-seconds", "0"]
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
