import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from model.captioner import Captioner
from tests.archive.test_read import pack_checkpoint
from tests.tiny import write_tiny_checkpoint
from tests.training.tiny_data import CAPTIONS, write_data
from training.__main__ import main
from training.data.captions import CaptionSet, read_captions
from training.errors import ScoringError
from training.evaluation import evaluate as command
from training.evaluation import result as evaluation
from training.evaluation.captioning import Captioned
from training.evaluation.metrics import CaptionScores, CiderScore

Run = Callable[..., int]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("run") / "checkpoint")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path) -> Run:
    """Run the command, with words and scores that take no time; captions and files are real."""

    def words(captions: Mapping[int, Sequence[str]]) -> dict[int, list[str]]:
        return {photo: [text.lower().rstrip(" .") for text in group] for photo, group in captions.items()}

    def scores(captions: dict[int, str], references: CiderScore) -> CaptionScores:
        assert references.truth == {
            10 + index: [caption.lower().rstrip(" .")] for index, caption in enumerate(CAPTIONS)
        }
        assert captions.keys() == references.truth.keys()
        return CaptionScores({"BLEU-4": 0.25}, {photo: photo / 10 for photo in captions})

    monkeypatch.setattr("training.evaluation.metrics.tokenise", words)
    monkeypatch.setattr(evaluation, "score_captions", scores)

    def go(*arguments: object) -> int:
        fixed = ["evaluate", "--data", data, "--out", tmp_path / "scores.json"]
        return main([*map(str, fixed), *map(str, arguments)])

    return go


def result(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "scores.json").read_text())
    return found


def test_a_file_that_cannot_be_written_is_told_before_any_photo_is_captioned(
    run: Run, checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    assert run("--checkpoint", checkpoint, "--report", tmp_path / "file" / "report.html") == 1
    assert caplog.messages == [f"{tmp_path / 'file'} cannot be written to: File exists"]
    assert not (tmp_path / "scores.json").exists()


def test_a_checkpoint_folder_is_scored(
    run: Run, checkpoint: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkpoint.parent / "history.jsonl").write_text('{"epoch": 1, "cider": 0.1}\n')
    report = tmp_path / "report.html"
    assert run("--checkpoint", checkpoint, "--report", report, "num_beams=2", "num_captions=1") == 0
    assert "BLEU-4               0.2500" in capsys.readouterr().out
    found = result(tmp_path)
    assert found["scores"]["BLEU-4"] == 0.25
    assert found["scores"]["novel captions"] == 1
    assert found["scores"]["photos a second"] > 0
    assert found["options"]["num_beams"] == 2
    assert found["split"] == "dev"
    captioner = Captioner.from_folder(checkpoint)
    photos = [captioner.preprocess((data / "images" / f"{index}.png").read_bytes()) for index in range(4)]
    options = captioner.options.replace(num_beams=2, num_captions=1)
    expected = [best.text for (best, *_) in captioner.caption(photos, options)]
    assert [photo["caption"] for photo in found["photos"]] == expected
    assert len(set(expected)) > 1
    assert found["photos"][2] == {
        "image_id": 12,
        "file_name": "2.png",
        "caption": expected[2],
        "cider": 1.2,
        "failure": None,
    }
    assert "Scores while it was trained" in report.read_text()  # the history beside the checkpoint


def test_an_archive_gets_what_its_folder_gets(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    archive = pack_checkpoint(
        tmp_path / "a.mar", checkpoint, "maxWorkers: 1\ncaptioner: {options: {num_beams: 2}}"
    )
    assert run("--checkpoint", archive, "num_captions=1") == 0
    from_archive = result(tmp_path)
    assert run("--checkpoint", checkpoint, "num_beams=2", "num_captions=1") == 0
    from_folder = result(tmp_path)
    assert from_archive["photos"] == from_folder["photos"]
    assert from_archive["options"] == from_folder["options"]
    assert from_archive.keys() == from_folder.keys()


def test_a_server_gets_the_same_file(
    run: Run, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("--checkpoint", checkpoint) == 0
    from_folder = result(tmp_path)
    captions = {photo["file_name"]: photo["caption"] for photo in from_folder["photos"]}

    def served(server: str, name: str, key: Callable[[], str], photos: object) -> Captioned:
        assert (server, name, key()) == ("http://127.0.0.1:1", "mine", "a key")
        return Captioned({10 + i: captions[f"{i}.png"] for i in range(4)}, {}, 1.0, None)

    monkeypatch.setattr(command, "caption_with_server", served)
    monkeypatch.setenv("CAPTIONER_KEY", "a key")
    assert run("--server", "http://127.0.0.1:1/", "--name", "mine") == 0
    from_server = result(tmp_path)
    assert from_server["photos"] == from_folder["photos"]
    assert from_server.keys() == from_folder.keys()
    assert from_server["scores"].keys() == from_folder["scores"].keys()
    assert from_server["source"] == "mine at http://127.0.0.1:1"
    assert from_server["options"] is None


def test_a_photo_that_cannot_be_read_is_named_and_counts(
    run: Run, checkpoint: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (data / "images" / "1.png").write_bytes(b"no photo")
    assert run("--checkpoint", checkpoint) == 1
    (line,) = (message for message in caplog.messages if "1.png" in message)
    assert "no caption, cannot be read: the data is no photo" in line
    found = result(tmp_path)["photos"]
    assert [photo["failure"] is None for photo in found] == [True, False, True, True]
    assert found[1]["caption"] == ""
    for index in range(4):
        (data / "images" / f"{index}.png").write_bytes(b"no photo")
    assert run("--checkpoint", checkpoint) == 1
    assert caplog.messages[-1].startswith("none of 4 photos got a caption; the first: cannot be read")


def test_an_empty_caption_scores_nothing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.evaluation.metrics.meteor", lambda *_: 0.0)  # it takes seconds to start
    photos = read_captions(data, "dev")
    captions = {10: CAPTIONS[0], 11: "", 13: "a dog runs"}
    found = evaluation.score(
        Captioned(captions, {12: "why"}, 2.0, None),
        photos,
        source="s",
        data=data,
        split="dev",
        known=["A DOG runs .", "other"],
    )
    assert [photo.cider > 0 for photo in found.photos] == [True, False, False, False]
    assert [photo.failure for photo in found.photos] == [None, None, "why", None]
    assert found.scores["novel captions"] == pytest.approx(2 / 3)
    assert found.scores["words a caption"] == pytest.approx(8 / 3)
    assert found.scores["photos a second"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--checkpoint", "{checkpoint}", "num_beams=0"], "num_beams: 0 is not an integer"),
        (["--checkpoint", "{checkpoint}", "num_beams=x"], "option num_beams=x: a JSON value is needed"),
        (["--checkpoint", "{checkpoint}", "beams"], "option beams=: a JSON value is needed"),
        (["--checkpoint", "{checkpoint}/config.json"], "is no archive that can be read"),
        (["--checkpoint", "nowhere"], "nowhere is neither a checkpoint folder nor an archive"),
        (["--server", "nowhere"], "server 'nowhere' is not http://HOST:PORT"),
        (["--server", "http://localhost", "num_beams=2"], "options are the server's own"),
        (["--checkpoint", "{checkpoint}", "--split", "x"], "has no captions of split 'x'"),
        (["--checkpoint", "{checkpoint}", "--history", "x.jsonl"], "x.jsonl cannot be read"),
    ],
)
def test_the_command_names_what_is_wrong(
    run: Run, checkpoint: Path, caplog: pytest.LogCaptureFixture, arguments: list[str], message: str
) -> None:
    assert run(*(argument.format(checkpoint=checkpoint) for argument in arguments)) == 1
    (line,) = caplog.messages
    assert message in line


def test_ctrl_c_is_one_line(
    run: Run, checkpoint: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> CaptionSet:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "read_captions", interrupt)
    assert run("--checkpoint", checkpoint) == 130
    assert caplog.messages == ["interrupted: nothing was written"]


def test_spice_is_asked_for_before_captioning(
    run: Run, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(evaluation, "spice", lambda truth, made: 0.5)
    monkeypatch.setattr(command, "require_core_nlp", lambda: None)
    assert run("--checkpoint", checkpoint, "--spice") == 0
    assert result(tmp_path)["scores"]["SPICE"] == 0.5

    def missing() -> None:
        raise ScoringError("SPICE needs CoreNLP")

    monkeypatch.setattr(command, "require_core_nlp", missing)
    monkeypatch.setattr(command, "read_captions", lambda *_: pytest.fail("too late"))
    assert run("--checkpoint", checkpoint, "--spice") == 1
