import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from archive.__main__ import main

ROOT = Path(__file__).parents[2]


def run(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "archive", *arguments]
    environment = {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_the_same_input_gives_the_same_bytes(checkpoint: Path, archive: Path, tmp_path: Path) -> None:
    """From another folder, with other dates, beside files that are none of a checkpoint's."""
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint, copy)
    (copy / "pytorch_model.bin").write_bytes(b"\x80\x04 pickled")
    (copy / "optimizer.pt").write_bytes(b"\x80\x04 pickled")
    for file in copy.iterdir():
        os.utime(file, (10**9, 10**9))
    done = run("--checkpoint", "copy", "--name", "tiny", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("tiny.mar: ")
    assert (tmp_path / "tiny.mar").read_bytes() == archive.read_bytes()


@pytest.mark.parametrize("failing", ["tempfile.mkdtemp", "archive.build.stage"])
def test_a_folder_that_cannot_be_written_to_is_one_line(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failing: str,
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(tmp_path / "within"))

    monkeypatch.setattr(failing, refuse)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["archive", "--checkpoint", str(checkpoint)])
    assert main() == 1
    shown = capsys.readouterr()
    place = f"{tmp_path} cannot be written to" if failing == "tempfile.mkdtemp" else f"{tmp_path}/within"
    assert (shown.out, shown.err) == ("", f"error: {place}: Read-only file system\n")
    assert not list(tmp_path.iterdir())


def test_an_unreadable_checkpoint_is_one_line(tmp_path: Path) -> None:
    done = run("--checkpoint", "nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: nowhere is neither a folder nor an OWNER/NAME of the Hugging Face Hub\n"
    assert done.stdout == ""
