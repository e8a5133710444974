"""The command line: one line for each caption, one for each error, and an exit code."""

import subprocess
import sys
from pathlib import Path

import pytest

from model.__main__ import main
from model.captioner import Captioner
from tests.tiny import photo

ROOT = Path(__file__).parents[2]


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    paths = [tmp_path / f"{seed}.png" for seed in range(2)]
    for seed, path in enumerate(paths):
        path.write_bytes(photo(seed))
    return [str(path) for path in paths]


def test_a_process_prints_captions_and_reports_a_broken_file(
    photos: list[str], tiny_folder: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"this is no photo")
    options = ["--checkpoint", str(tiny_folder)]
    done = subprocess.run(
        [sys.executable, "-m", "model", "caption", photos[0], str(broken), photos[1], *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    captioner = Captioner.from_folder(tiny_folder)
    for line, path in zip(lines, photos, strict=True):
        (found,) = captioner.caption([captioner.preprocess(Path(path).read_bytes())])
        assert line == f"{path}\t{found[0].score:.3f}\t{found[0].text}"
    (error,) = done.stderr.splitlines()
    assert error.startswith(f"error: {broken}: ")


def test_good_photos_exit_with_nothing_to_say(
    photos: list[str], tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["caption", *photos, "--checkpoint", str(tiny_folder)]) == 0
    out, err = capsys.readouterr()
    assert [line.split("\t")[0] for line in out.splitlines()] == photos
    assert err == ""


def test_beams_and_captions_can_be_asked_for(
    photos: list[str], tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [photos[0], "--checkpoint", str(tiny_folder), "--beams", "4", "--captions", "4"]
    assert main(["caption", *arguments]) == 0
    scores = [float(line.split("\t")[1]) for line in capsys.readouterr().out.splitlines()]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)


def test_captions_begin_with_a_prompt(
    photos: list[str], tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["caption", *photos, "--checkpoint", str(tiny_folder), "--prompt", "a dog"]) == 0
    assert capsys.readouterr().out.count("\ta dog") == len(photos)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--checkpoint", "nowhere"], "nowhere is not a folder"),
        (["--beams", "2", "--captions", "3"], "num_captions: 3 is more than num_beams (2)"),
        (["--beams", "0"], "num_beams: 0 is not an integer of at least 1"),
        (["--captions", "0"], "num_captions: 0 is not an integer of at least 1"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    arguments: list[str],
    said: str,
    photos: list[str],
    tiny_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "--checkpoint" not in arguments:
        arguments = [*arguments, "--checkpoint", str(tiny_folder)]
    assert main(["caption", *photos, *arguments]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"error: {said}\n")


def test_a_missing_photo_is_reported(
    photos: list[str], tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["caption", "no.jpg", photos[0], "--checkpoint", str(tiny_folder)]) == 1
    out, err = capsys.readouterr()
    assert out.startswith(photos[0])
    assert err == "error: no.jpg: No such file or directory\n"
    assert err.count("\n") == out.count("\n") == 1


def test_a_missing_photo_is_not_explained(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["no.jpg", "--checkpoint", str(tiny_folder), "--out", str(tmp_path / "out")]
    assert main(["explain", *arguments]) == 1
    assert capsys.readouterr().err == "error: no.jpg: No such file or directory\n"
