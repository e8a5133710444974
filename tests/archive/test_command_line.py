import os
import shutil
import subprocess
import sys
from pathlib import Path

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


def test_an_unreadable_checkpoint_is_one_line(tmp_path: Path) -> None:
    done = run("--checkpoint", "nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: nowhere is neither a folder nor an OWNER/NAME of the Hugging Face Hub\n"
    assert done.stdout == ""
