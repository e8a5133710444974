import contextlib
import io
import math
import sys
from types import SimpleNamespace

import pytest
from pycocoevalcap.eval import COCOEvalCap
from pycocoevalcap.meteor.meteor import Meteor

from training.errors import ScoringError
from training.evaluation.metrics import CiderScore, distinct_rate, mean_length, novel_rate, score_captions

REFERENCES = {
    1: ["A dog runs in the snow .", "The dog runs fast ."],
    2: ["Two men sit on a bench .", "Men sitting on benches ."],
    3: ["It's a child's 2nd toy ||| car (red)!", "A “red” toy-car, isn't it?"],
}
CAPTIONS = {1: "a dog runs in snow", 2: "two men walk on a road", 3: "a child's red toy car"}


def part(photos: int) -> tuple[dict[int, str], CiderScore]:
    """Captions and references of the first photos."""
    captions = {photo: CAPTIONS[photo] for photo in range(1, photos + 1)}
    return captions, CiderScore({photo: REFERENCES[photo] for photo in captions})


def test_bleu_is_that_of_a_hand_calculation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the first two photos; words as the PTB tokenizer leaves them: lower case, no full stop.

    caption 1, 5 words: all 5 occur; bigrams: "a dog", "dog runs", "runs in" of 4 occur;
        trigrams: "a dog runs", "dog runs in" of 3; fourgram: "a dog runs in" of 2
    caption 2, 6 words: two, men, on, a occur; bigrams: "two men", "on a" of 5; trigrams 0 of 4;
        fourgrams 0 of 3
    reference lengths closest to the captions': 6 or 4 for 5 (the shorter), 6 for 6
    """
    monkeypatch.setattr("training.evaluation.metrics.meteor", lambda *_: 0.0)  # it takes seconds to start
    found = score_captions(*part(2)).whole
    precisions = [9 / 11, 5 / 9, 2 / 7, 1 / 5]
    brevity = 1.0  # 11 words against 4 + 6
    for order in range(1, 5):
        expected = brevity * math.prod(precisions[:order]) ** (1 / order)
        assert found[f"BLEU-{order}"] == pytest.approx(expected, abs=1e-6)


def test_cider_is_that_of_a_hand_calculation() -> None:
    """Every n-gram is in the references of one photo of two, so that all weigh log 2.

    "dogs run" has its reference's only bigram and both unigrams: cosines 1, 1, and 0 for the orders
        that do not occur, which makes 10 · 2 / 4
    "cats" has one of two unigrams: cosine 1 / √2, no bigram, and one word too few, which costs
        exp(−1 / (2 · 6²))
    """
    score = CiderScore({1: ["Dogs run."], 2: ["Cats sleep."]})
    expected = (10 * 2 / 4 + 10 * math.exp(-1 / 72) / math.sqrt(2) / 4) / 2
    assert score({1: "dogs run", 2: "cats"}) == pytest.approx(expected)
    assert score({2: "cats", 1: "dogs run"}) == pytest.approx(expected)  # in any order
    assert score({1: "cats", 2: "dogs"}) == 0


def test_all_scores_are_those_of_the_coco_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    meteor = Meteor()  # takes seconds to start, so both ask the same one
    monkeypatch.setattr("pycocoevalcap.eval.Meteor", lambda: meteor)
    monkeypatch.setattr("training.evaluation.metrics.Meteor", lambda: meteor)
    no_spice = SimpleNamespace(method=lambda: "SPICE", compute_score=lambda *_: (0.0, []))
    monkeypatch.setattr("pycocoevalcap.eval.Spice", lambda: no_spice)
    truth = {photo: [{"caption": text} for text in texts] for photo, texts in REFERENCES.items()}
    made = {photo: [{"caption": text}] for photo, text in CAPTIONS.items()}
    coco = SimpleNamespace(getImgIds=lambda: list(truth), imgToAnns=truth)
    theirs = COCOEvalCap(coco, SimpleNamespace(imgToAnns=made))
    with contextlib.redirect_stdout(io.StringIO()):
        theirs.evaluate()
    ours = score_captions(CAPTIONS, CiderScore(REFERENCES))
    names = {"ROUGE-L": "ROUGE_L"} | {f"BLEU-{order}": f"Bleu_{order}" for order in range(1, 5)}
    assert ours.whole == pytest.approx({name: theirs.eval[names.get(name, name)] for name in ours.whole})
    assert ours.cider == pytest.approx({photo: found["CIDEr"] for photo, found in theirs.imgToEval.items()})
    assert len(ours.whole) == 7


def test_references_are_tokenised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    captions, score = part(2)
    seen = []

    def tokenise(texts: dict[int, list[str]]) -> dict[int, list[str]]:
        seen.append(texts)
        return texts

    monkeypatch.setattr(sys.modules["training.evaluation.metrics"], "tokenise", tokenise)
    assert score(captions) == score(captions) > 0
    assert seen == [{photo: [text] for photo, text in captions.items()}] * 2


@pytest.mark.parametrize("captions", [{1: "a dog"}, {**CAPTIONS, 9: "a cat"}])
def test_captions_are_needed_for_the_photos_that_have_references(captions: dict[int, str]) -> None:
    with pytest.raises(ScoringError, match=r"photo [29] has a caption or references, but not both"):
        CiderScore(REFERENCES)(captions)


def test_references_are_needed() -> None:
    with pytest.raises(ScoringError, match="photo 7 has no reference"):
        CiderScore({7: []})


def test_statistics_of_captions() -> None:
    assert distinct_rate(["a", "b", "a", "a"]) == 0.5
    assert mean_length(["a dog", "a black dog runs"]) == 3
    assert novel_rate(["a dog runs", "A cat .", "a bird", "a fish"], ["A dog runs .", "a cat"]) == 0.5
