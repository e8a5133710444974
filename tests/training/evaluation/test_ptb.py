import os
from pathlib import Path

import pytest
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from training.errors import ScoringError
from training.evaluation.ptb import ensure_java, tokenise

TEXTS = [
    "A man's dog, it's running (fast) !",
    "café – naïve “quotes” 3/4 cannot",
    "",
    "...",
    "e.g. a U.S. flag; two-piece suit & hat 100% $5",
    "",
]


def test_words_are_those_of_pycocoevalcap(capfd: pytest.CaptureFixture[str]) -> None:
    expected = PTBTokenizer().tokenize({index: [{"caption": text}] for index, text in enumerate(TEXTS)})
    capfd.readouterr()
    assert tokenise({index: [text] for index, text in enumerate(TEXTS)}) == expected
    assert capfd.readouterr() == ("", "")  # and nothing is said into the progress bar


def test_a_line_break_stays_within_its_caption() -> None:
    broken = {7: ["A dog\rruns\nfast", "x\u2028y\x0cz\x85w"], 3: ["\n"], 5: ["a cat"]}
    assert tokenise(broken) == {7: ["a dog runs fast", "x y z w"], 3: [""], 5: ["a cat"]}


def test_what_has_no_bytes_does_not_matter() -> None:
    assert tokenise({1: ["a \ud800 dog"]}) == {1: ["a dog"]}


def test_a_failure_of_java_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.evaluation.ptb.PROGRAM", "no.such.Program")
    with pytest.raises(ScoringError, match=r"the PTB tokenizer failed: .*no\.such\.Program"):
        tokenise({1: ["a dog"]})


def test_java_is_found_where_the_machine_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ensure_java()
    assert (Path(os.environ["PATH"].split(os.pathsep)[-1]) / "java").exists()
