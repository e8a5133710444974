import json
import math
import os
from pathlib import Path

import pytest
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge

from model.captioner import Captioner
from tests.tiny import write_tiny_checkpoint
from tests.training.data import CAPTIONS, write_data
from training import evaluate as command
from training.scores import distinct_rate, ensure_java, mean_length, score_captions

REFERENCES = {
    1: ["A dog runs in the snow .", "The dog runs fast ."],
    2: ["Two men sit on a bench .", "Men sitting on benches ."],
}
CANDIDATES = {1: "a dog runs in snow", 2: "two men walk on a road"}


@pytest.fixture(scope="module")
def scores() -> dict[str, float]:
    return score_captions(CANDIDATES, REFERENCES)


def test_bleu_is_that_of_a_hand_calculation(scores: dict[str, float]) -> None:
    """Words as the PTB tokenizer leaves them: lower case, no full stop.

    candidate 1, 5 words: all 5 occur; bigrams: "a dog", "dog runs", "runs in" of 4 occur;
        trigrams: "a dog runs", "dog runs in" of 3; fourgram: "a dog runs in" of 2
    candidate 2, 6 words: two, men, on, a occur; bigrams: "two men", "on a" of 5; trigrams 0 of 4;
        fourgrams 0 of 3
    reference lengths closest to the candidates': 6 or 4 for 5 (the shorter), 6 for 6
    """
    precisions = [9 / 11, 5 / 9, 2 / 7, 1 / 5]
    brevity = 1.0  # 11 words against 4 + 6
    for order in range(1, 5):
        expected = brevity * math.prod(precisions[:order]) ** (1 / order)
        assert scores[f"BLEU-{order}"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # METEOR's pipes
def test_the_other_scores_are_those_of_their_scorers(scores: dict[str, float]) -> None:
    truth = {
        1: ["a dog runs in the snow", "the dog runs fast"],
        2: ["two men sit on a bench", "men sitting on benches"],
    }
    made = {photo: [text] for photo, text in CANDIDATES.items()}
    for name, scorer in (("METEOR", Meteor()), ("ROUGE-L", Rouge()), ("CIDEr", Cider())):
        assert scores[name] == pytest.approx(float(scorer.compute_score(truth, made)[0])), name


def test_java_is_found_where_the_machine_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ensure_java()
    assert (Path(os.environ["PATH"].split(os.pathsep)[-1]) / "java").exists()


def test_statistics_of_captions() -> None:
    assert distinct_rate(["a", "b", "a", "a"]) == 0.5
    assert mean_length(["a dog", "a black dog runs"]) == 3


def test_the_command_scores_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "checkpoint")
    data = write_data(tmp_path / "data")
    arguments = ["--checkpoint", checkpoint, "--data", data, "--out", tmp_path / "scores.json", "num_beams=2"]
    monkeypatch.setattr("sys.argv", ["evaluate", *map(str, arguments)])
    seen: dict[int, str] = {}

    def scorer(candidates: dict[int, str], references: dict[int, tuple[str, ...]]) -> dict[str, float]:
        assert {photo: list(texts) for photo, texts in references.items()} == {
            10 + index: [caption] for index, caption in enumerate(CAPTIONS)
        }
        seen.update(candidates)
        return {"BLEU-4": 0.25}

    monkeypatch.setattr(command, "score_captions", scorer)
    assert command.main() == 0
    assert "BLEU-4" in capsys.readouterr().out
    assert json.loads((tmp_path / "scores.json").read_text())["BLEU-4"] == 0.25
    captioner = Captioner.from_folder(checkpoint)
    photo = captioner.preprocess((data / "images" / "2.png").read_bytes())
    options = captioner.options.replace(num_beams=2)
    assert seen[12] == captioner.caption([photo], options)[0][0].text


def test_the_command_names_a_bad_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "checkpoint")
    data = write_data(tmp_path / "data")
    monkeypatch.setattr(
        "sys.argv", ["evaluate", "--checkpoint", str(checkpoint), "--data", str(data), "num_beams=0"]
    )
    assert command.main() == 1
    assert caplog.messages == ["num_beams: 0 is not an integer of at least 1"]
