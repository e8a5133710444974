"""Real processes: one that is killed, and two that share a run."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.training.tiny_data import RECIPE, write_data
from training.__main__ import main

SENTENCES = ["A dog .", "A red dog runs over the snow .", "Birds .", "Two men sit on a very long bench ."]


def arguments(folder: Path, out: str, **changes: object) -> list[str]:
    recipe = yaml.safe_load(RECIPE) | changes
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    if not (folder / "data").exists():
        write_data(folder / "data", [[SENTENCES[index % 4], SENTENCES[index % 3]] for index in range(8)])
        (folder / "data" / "captions_dev.json").unlink()
    given = {"data": "data", "config": "recipe.yaml", "out": out, "cache": "cache"}
    return [
        "training",
        "captions",
        *(part for name, at in given.items() for part in (f"--{name}", str(folder / at))),
    ]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


def reports(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def assert_same_weights(one: Path, other: Path, tolerance: float) -> None:
    expected = load_file(one / "snapshot.safetensors")
    found = load_file(other / "snapshot.safetensors")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=tolerance, rtol=tolerance, msg=name)


def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    changes = {
        "epochs": 20,
        "batch_size": 4,
        "report_epochs": 1,
        "encoder": yaml.safe_load(RECIPE)["encoder"] | {"hidden_dropout_prob": 0.1},
        "augmentation": {"least_area": 0.5, "aspect": 1.2, "brightness": 0.2, "contrast": 0.2},
        "contrast": {"weight": 0.5, "width": 8},
    }
    whole = [sys.executable, "-m", *arguments(tmp_path, "whole", **changes)]
    killed = [sys.executable, "-m", *arguments(tmp_path, "killed", **changes), "--save-seconds", "0"]
    with (
        subprocess.Popen(whole, env=environment()) as one,
        subprocess.Popen(killed, env=environment()) as two,
    ):
        deadline = time.monotonic() + 60
        while len(reports(tmp_path / "killed") if (tmp_path / "killed/history.jsonl").exists() else []) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        two.send_signal(signal.SIGKILL)
        two.wait()
        assert len(reports(tmp_path / "killed")) < 20  # it was killed half-way
        assert one.wait() == 0
    resumed = subprocess.run(killed, env=environment(), capture_output=True, text=True, check=True)
    assert "resuming after step" in resumed.stderr
    assert_same_weights(tmp_path / "whole", tmp_path / "killed", 0)
    weights = "checkpoint/model.safetensors"
    assert (tmp_path / "whole" / weights).read_bytes() == (tmp_path / "killed" / weights).read_bytes()
    assert [report["epoch"] for report in reports(tmp_path / "killed")] == list(range(1, 21))


@pytest.mark.parametrize("accumulation", [1, 2])
def test_two_processes_do_what_one_does_with_twice_the_batch(tmp_path: Path, accumulation: int) -> None:
    """Captions differ in length, so that a mean of the processes' means would be another loss."""
    changes: dict[str, object] = {
        "epochs": 6,
        "batch_size": 8,
        "report_epochs": 1,
        "precision": "float32",
        "accumulation": accumulation,
        "optimizer": {"muon_rate": 0.0, "adamw_rate": 3e-4, "weight_decay": 0.1, "gradient_norm": 0.5},
        "augmentation": {"least_area": 0.5, "aspect": 1.2, "brightness": 0.2, "contrast": 0.2},
    }
    if accumulation == 1:  # its wrong answers are those of a part
        changes["contrast"] = {"weight": 0.5, "width": 8}
    assert main(arguments(tmp_path, "alone", **changes)[1:]) == 0
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    together = [sys.executable, "-m", *torchrun, *arguments(tmp_path, "together", **changes)]
    subprocess.run(together, env=environment(), check=True, capture_output=True, timeout=120)
    expected, found = reports(tmp_path / "alone"), reports(tmp_path / "together")
    assert len(found) == len(expected) == 6
    for one, two in zip(expected, found, strict=True):
        assert two == pytest.approx(one, abs=1e-5)
    assert expected[-1]["loss"] < expected[0]["loss"] - 0.05
    assert_same_weights(tmp_path / "alone", tmp_path / "together", 1e-4)
