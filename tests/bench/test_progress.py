"""Measurements and fuzzing say how far they are, from the first step to the last."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import agreement, engine, server
from bench.heatmaps import compare, learner
from fuzz import __main__ as fuzz
from fuzz.campaign import Report
from serving import process
from serving.config import ServerConfig
from serving.temporary import Server
from tests.tiny import photo, write_tiny_checkpoint
from training.progress import Progress

MODULES = (agreement, engine, server, compare, learner, fuzz)
CONFIG = Path(__file__).parents[2] / "config.properties"


@contextmanager
def nowhere(_: Path) -> Iterator[Server]:
    """A server that is none."""
    yield Server(Path(), "captioner", ServerConfig.from_file(CONFIG), 1.0)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Progress]:
    """Every progress that is begun."""
    begun: list[Progress] = []

    class Kept(Progress):
        def __enter__(self) -> "Kept":
            begun.append(self)
            return self

    for module in MODULES:
        monkeypatch.setattr(module, "Progress", Kept)
    return begun


def told(shown: list[Progress]) -> list[tuple[str, int, str]]:
    """What each counted, up to its end, and in which unit."""
    assert [progress.done for progress in shown] == [progress.total for progress in shown]
    return [(progress.what, progress.total, progress.unit) for progress in shown]


def test_the_engines_rounds(tmp_path: Path, shown: list[Progress], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(engine, "ROUNDS", 2)
    monkeypatch.setattr(engine, "SECONDS", 1e-3)
    engine.compare(write_tiny_checkpoint(tmp_path / "tiny"), [photo(0)], torch.float32, 3)
    assert told(shown) == [("float32, 3 photo(s) at once", 2, "round")]


def test_the_photos_of_the_agreement(tmp_path: Path, shown: list[Progress]) -> None:
    agreement.agreement(write_tiny_checkpoint(tmp_path / "tiny"), [photo(seed) for seed in range(3)])
    expected = [f"{dtype}, batches of {size}" for dtype in ("float32", "bfloat16") for size in (1, 32)]
    assert told(shown) == [(what, 3, "photo") for what in expected]


def test_the_servers_requests(shown: list[Progress], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []  # whether an explanation
    found = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=1), children=lambda recursive: [])
    monkeypatch.setattr(server, "served_checkpoint", nowhere)
    monkeypatch.setattr(Server, "key", lambda _: "key")
    monkeypatch.setattr(server, "caption_over_http", lambda *given: asked.append(len(given) > 4))
    monkeypatch.setattr(server, "caption_over_grpc", lambda *_: asked.append(False))
    monkeypatch.setattr(process, "find", lambda _: found)
    server.measure(Path(), b"photo")
    assert told(shown) == [("server", asked.count(False), "request")]


def test_the_heatmaps_scenes_and_steps(shown: list[Progress]) -> None:
    captioner = learner.untrained(0)
    learner.examples(captioner, 3, random.Random(0))
    compare.compare(captioner, captioner, compare.drawn_scenes(1, 1))
    assert told(shown) == [("drawing", 3, "scene"), ("explaining", 1, "scene")]


def test_the_heatmaps_training(shown: list[Progress], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner, "SCENES", 32)
    learner.trained(2, 0)
    assert told(shown) == [("drawing", 32, "scene"), ("training", 2, "step")]


def test_the_cases_of_fuzzing(shown: list[Progress], monkeypatch: pytest.MonkeyPatch) -> None:
    def campaign(*given: object, warm_up: int, done: Callable[[], object]) -> Report:
        numbers = given[2]
        assert isinstance(numbers, Sequence)
        for _ in range(warm_up + len(numbers)):
            done()
        return Report(Counter(), [], [], 1.0, 1.0)

    monkeypatch.setattr(fuzz, "served_checkpoint", nowhere)
    monkeypatch.setattr(fuzz, "campaign", campaign)
    monkeypatch.setattr("sys.argv", ["fuzz", "--cases", "7"])
    assert fuzz.main() == 0
    assert told(shown) == [("fuzzing", 14, "case")]
