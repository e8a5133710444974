"""Real processes: one that is killed, and two that share a run, however long one of them scores."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn

from tests.tiny import write_tiny_checkpoint
from tests.training.stages import test_pretrain, test_scst, test_text
from tests.training.stages.test_pretrain import make_labels, write_images
from tests.training.tiny_data import ALONE, RECIPE, write_data
from training import world as world_module
from training.__main__ import main
from training.data.labelled_images import read_labelled_images
from training.data.vocabulary import learn_vocabulary
from training.errors import RecipeError
from training.loop import Loop
from training.optimizers import OptimizerRecipe, make_optimizers
from training.recipe import read_recipe
from training.stage import Measured, Part, Plan, Stage
from training.stages.pretrain import Pretrain
from training.stages.scst import ScstRecipe, prepare_scst
from training.stages.text import Text, TextRecipe
from training.world import World, join_world

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


class Slow:
    """A stage of one weight, whose scoring takes longer than a collective may."""

    average = None

    def __init__(self, world: World) -> None:
        self.world = world
        self.plan = Plan("slow", 0, steps=2, steps_per_epoch=1, warmup_steps=0, gradient_norm=99)
        self.network = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.network.weight)
        rates = OptimizerRecipe(muon_rate=0, adamw_rate=0.1, weight_decay=0, gradient_norm=99)
        self.optimizers = make_optimizers([(self.network, 1.0)], rates)

    def step(self, step: int) -> Iterator[Part]:
        for _ in range(2):
            loss = (self.network.weight * (1 + self.world.rank)).sum()
            yield Part(loss, {"loss": loss})

    def measure(self) -> Measured:
        time.sleep(1.5 * LIMIT.total_seconds())
        return Measured()

    def write(self, out: Path) -> None:
        pass


LIMIT = timedelta(seconds=6)


def join(rank: int, port: int) -> None:
    os.environ |= {"RANK": f"{rank}", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}"}
    torch.set_num_threads(1)


def _score_long(rank: int, port: int, folder: Path) -> None:
    join(rank, port)
    world_module.LIMIT = LIMIT
    with join_world() as world:
        stage = Slow(world)
        loop = Loop(stage, world, folder)
        loop.run()
        before = stage.network.weight.item()
        assert loop.step(0) == {"loss": pytest.approx(6 * before)}  # two parts of 1, two parts of 2
        assert stage.network.weight.grad is not None
        assert stage.network.weight.grad.item() == 6


def _every_stage(rank: int, port: int, folder: Path) -> None:
    """Two steps of each stage but captions, after which both processes have the same weights."""
    join(rank, port)
    with join_world() as world:
        for make in (make_scst, make_text, make_pretrain):
            stage = make(folder, world)
            loop = Loop(stage, world, folder / "out")
            first, _ = loop.step(0), loop.step(1)
            if make is make_text:
                alone = Loop(make(folder, ALONE), ALONE, folder / "out").step(0)
                assert first == pytest.approx(alone, rel=1e-2)  # in bfloat16
            weights = nn.utils.parameters_to_vector(stage.network.parameters()).detach()
            torch.testing.assert_close(world.total(weights), 2 * weights, rtol=1e-5, atol=1e-6)


def make_scst(folder: Path, world: World) -> Stage:
    recipe = read_recipe(folder / "scst.yaml", ScstRecipe)
    return prepare_scst(
        folder / "data", folder / "checkpoint", recipe, name="out", cache=folder / "cache", world=world
    )


def make_text(folder: Path, world: World) -> Stage:
    recipe = read_recipe(folder / "text.yaml", TextRecipe)
    rows = [[1 + (start + step) % 40 for step in range(3 + start % 5)] for start in range(12)]
    return Text(recipe, learn_vocabulary([], 257), rows, [], world)


def make_pretrain(folder: Path, world: World) -> Stage:
    photos = np.random.default_rng(0).integers(256, size=(8, 224, 224, 3), dtype=np.uint8)
    images = read_labelled_images(folder, "train", folder / "cache")
    return Pretrain(test_pretrain.RECIPE, photos, make_labels(8), images, checked=images, world=world)


def in_two_processes(target: Callable[[int, int, Path], None], folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=target, args=(rank, port, folder)) for rank in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(150)
    for process in both:
        assert process.exitcode == 0
        process.kill()


def test_scoring_may_take_longer_than_a_collective(tmp_path: Path) -> None:
    in_two_processes(_score_long, tmp_path)


def test_two_processes_keep_the_same_weights_in_every_stage(tmp_path: Path) -> None:
    (write_data(tmp_path / "data") / "captions_dev.json").unlink()
    write_tiny_checkpoint(tmp_path / "checkpoint")
    (tmp_path / "scst.yaml").write_text(test_scst.RECIPE)
    plain = {f"{name}_pdrop": 0.0 for name in ("embd", "resid", "attn")}
    recipe = yaml.safe_load(test_text.RECIPE)
    (tmp_path / "text.yaml").write_text(yaml.safe_dump(recipe | {"decoder": recipe["decoder"] | plain}))
    write_images(tmp_path, "train", [(255, 0, 0), (0, 255, 0)])
    in_two_processes(_every_stage, tmp_path)


@pytest.mark.parametrize(("number", "parts"), [(6, 1), (4, 2), (8, 4)])
def test_what_cannot_be_shared_is_named(number: int, parts: int) -> None:
    world = World(1, 4, torch.device("cpu"))
    assert world.share("batch_size", 8, 2) == 2
    with pytest.raises(
        RecipeError, match=f"batch_size: {number} cannot be spread evenly over 4 processes in {parts}"
    ):
        world.share("batch_size", number, parts)
