import subprocess
from pathlib import Path
from urllib import request

import pytest

import training.evaluation.spice
from training.errors import ScoringError
from training.evaluation.spice import CORE_NLP, LIBRARY, require_core_nlp, spice

WORDS = {1: ["a dog"]}


def test_the_folder_is_the_one_of_spices_program() -> None:
    assert (LIBRARY / "SceneGraphParser-1.0.jar").is_file()


def test_core_nlp_is_asked_for_and_never_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(request, "urlopen", lambda *_: pytest.fail("a download"))
    (tmp_path / CORE_NLP[0]).touch()
    with pytest.raises(ScoringError, match=f"CoreNLP.*: {CORE_NLP[1]} must be put into {tmp_path}"):
        require_core_nlp(tmp_path)
    monkeypatch.setattr(require_core_nlp, "__defaults__", (tmp_path,))
    with pytest.raises(ScoringError, match="CoreNLP"):
        spice(WORDS, WORDS)


def test_it_is_scored_where_core_nlp_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in CORE_NLP:
        (tmp_path / name).touch()
    monkeypatch.setattr(require_core_nlp, "__defaults__", (tmp_path,))

    class Program:
        def compute_score(self, truth: object, made: object) -> tuple[float, list[object]]:
            assert truth is made is WORDS
            return 0.25, []

    monkeypatch.setattr(training.evaluation.spice, "Spice", Program)
    assert spice(WORDS, WORDS) == 0.25

    def fail(self: Program, truth: object, made: object) -> None:
        raise subprocess.CalledProcessError(1, ["java"])

    monkeypatch.setattr(Program, "compute_score", fail)
    with pytest.raises(ScoringError, match="SPICE's program failed"):
        spice(WORDS, WORDS)
