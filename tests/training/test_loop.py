import logging
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model.checkpoint.folder import load_checkpoint
from tests.training.tiny_data import CAPTIONS, RECIPE, write_data
from training.__main__ import main
from training.evaluation.dev import DevCaptions
from training.journal import Journal


def train(tmp_path: Path, **changes: object) -> Path:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(yaml.safe_load(RECIPE) | changes))
    data = tmp_path / "data"
    data = data if data.exists() else write_data(data)
    given = {"data": data, "config": tmp_path / "recipe.yaml", "out": tmp_path / "out"}
    arguments = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    assert main(["captions", *arguments, "--cache", str(tmp_path / "cache")]) == 0
    return tmp_path / "out"


def test_a_run_stops_early_and_keeps_its_best_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    scores = iter([0.1, 0.4, 0.3, 0.2, 0.9])
    caption = DevCaptions.caption
    biases = []

    def remember(self: DevCaptions, checkpoint: object, device: object) -> list[str]:
        biases.append(checkpoint.model.encoder.norm.bias.detach().clone().half())  # type: ignore[attr-defined]
        return caption(self, checkpoint, device)  # type: ignore[arg-type]

    monkeypatch.setattr(DevCaptions, "caption", remember)
    monkeypatch.setattr(DevCaptions, "score", lambda self, made: {"cider": next(scores), "bleu4": 0.0})
    out = train(tmp_path, epochs=20, report_epochs=2, patience=4)
    journal = Journal.until(out / "history.jsonl", 99)
    assert [(line["epoch"], line["cider"]) for line in journal.reports] == [
        (2, 0.1),
        (4, 0.4),
        (6, 0.3),
        (8, 0.2),
    ]
    kept = load_checkpoint(out / "checkpoint").model.encoder.norm.bias.half()
    assert [bool((kept == bias).all()) for bias in biases] == [False, True, False, False]
    assert train(tmp_path, epochs=20, report_epochs=2, patience=4) == out  # it has ended, and stays so
    assert len(Journal.until(out / "history.jsonl", 99).reports) == 4
    assert any("stopping: dev CIDEr did not rise for 4 epochs" in line for line in caplog.messages)


def test_curves_and_samples_are_there_to_look_at(tmp_path: Path) -> None:
    out = train(tmp_path, contrast={"weight": 0.05, "width": 8})
    events = EventAccumulator(str(out / "events"))
    events.Reload()
    (report,) = Journal.until(out / "history.jsonl", 99).reports
    (score,) = events.Scalars("dev/cider")
    assert (score.step, score.value) == (60, pytest.approx(report["cider"]))
    losses = [point.value for point in events.Scalars("train/loss")]
    assert len(losses) == 6
    assert losses[-1] < losses[0] - 3
    assert {point.step for point in events.Scalars("train/rate")} == set(range(10, 61, 10))
    assert set(events.Tags()["scalars"]) == {
        *("train/loss", "train/contrast", "train/rate", "dev/loss", "dev/cider", "dev/bleu4")
    }
    shown = [events.Images(f"samples/{index}")[0] for index in range(4)]
    assert {(image.width, image.height) for image in shown} == {(32, 32)}
    texts = [
        events.Tensors(f"samples/{index}/text_summary")[0].tensor_proto.string_val[0].decode()
        for index in range(4)
    ]
    assert texts == [caption.lower().rstrip(" .") for caption in CAPTIONS]
