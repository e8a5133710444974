import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from model.checkpoint.folder import Checkpoint, load_checkpoint
from tests.tiny import write_tiny_checkpoint
from tests.training.tiny_data import ALONE, options, write_data
from training.__main__ import main
from training.data.batches import PADDING, Split, TokenisedCaptions
from training.data.captions import CaptionSet
from training.data.folder import load_data
from training.errors import RecipeError
from training.evaluation.dev import DevCaptions
from training.loop import Loop
from training.recipe import read_recipe
from training.stages.rewards import END, CiderD, Words, words
from training.stages.scst import Scst, ScstRecipe, prepare_scst
from training.stages.self_critical import reward_of
from training.stages.start import load_start

RECIPE = """
augmentation: {least_area: 0.8, aspect: 1.1, brightness: 0.1, contrast: 0.1}
samples_per_photo: 4
max_tokens: 12
epochs: 3
batch_size: 2
optimizer: {muon_rate: 0.0, adamw_rate: 3.0e-3, weight_decay: 0.0, gradient_norm: 1.0}
encoder_rate: 0.5
warmup_steps: 1
cross_entropy_weight: 0.1
average_decay: 0.8
report_epochs: 1
seed: 3
"""


def make_recipe(tmp_path: Path, **changes: object) -> ScstRecipe:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(yaml.safe_load(RECIPE) | changes))
    return read_recipe(tmp_path / "recipe.yaml", ScstRecipe)


def make_start(tmp_path: Path, recipe: ScstRecipe) -> tuple[Checkpoint, CaptionSet, Split]:
    write_data(tmp_path / "data")
    start = load_start(write_tiny_checkpoint(tmp_path / "checkpoint"), recipe.max_tokens)
    captions, photos = load_data(tmp_path / "data", start.image, tmp_path / "cache").train
    return start, captions, Split(photos, TokenisedCaptions.of(captions, start.tokenizer, 0, 0))


def make_run(tmp_path: Path, name: str, recipe: ScstRecipe) -> Path:
    data, checkpoint = tmp_path / "data", tmp_path / "checkpoint"
    if not data.exists():
        write_data(data)
        (data / "captions_dev.json").unlink()  # scores start a Java program each time
        write_tiny_checkpoint(checkpoint)
    stage = prepare_scst(data, checkpoint, recipe, name="out", cache=tmp_path / "cache", world=ALONE)
    Loop(stage, ALONE, tmp_path / name, save_seconds=-1).run()
    return tmp_path / name


class Vowels(CiderD):
    """A reward that even a network of random weights earns: the share of vowels."""

    def scores(self, photo: int, candidates: Iterable[Words]) -> npt.NDArray[np.float64]:
        texts = ["".join(candidate).removesuffix(END) for candidate in candidates]
        return np.array([sum(letter in "aeiou" for letter in text) / max(1, len(text)) for text in texts])


def test_training_raises_the_reward(tmp_path: Path) -> None:
    numbers = yaml.safe_load(RECIPE)["optimizer"] | {"adamw_rate": 0.02}
    recipe = make_recipe(
        tmp_path, epochs=6, samples_per_photo=16, batch_size=4, cross_entropy_weight=0, optimizer=numbers
    )
    start, captions, split = make_start(tmp_path, recipe)
    stage = Scst(recipe, start, split, Vowels([[["x"]]] * len(captions.ids)), world=ALONE)
    loop = Loop(stage, ALONE, tmp_path)
    rewards = [loop.step(step)["reward"] for step in range(stage.plan.steps)]
    assert rewards[-1] > rewards[0] + 0.3, rewards


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    """The reward is one all the same: captions are drawn from broken weights, too."""
    recipe = make_recipe(tmp_path, cross_entropy_weight=0)
    start, captions, split = make_start(tmp_path, recipe)
    loop = Loop(Scst(recipe, start, split, reward_of(captions), world=ALONE), ALONE, tmp_path)
    loop.step(0)
    with torch.no_grad():
        start.model.decoder.get_parameter("embedding.tokens.weight").fill_(torch.nan)
    with pytest.raises(RecipeError, match="no finite loss at step 2: lower learning rates"):
        loop.step(1)


def test_the_best_weights_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_data(tmp_path / "data")
    write_tiny_checkpoint(tmp_path / "checkpoint")
    make_recipe(tmp_path, epochs=2)
    seen: list[dict[str, Tensor]] = []
    scores = iter([0.1, 0.3, 0.2])

    def caption(self: DevCaptions, checkpoint: Checkpoint, device: torch.device) -> list[str]:
        seen.append({name: value.clone() for name, value in checkpoint.model.state_dict().items()})
        return [""] * len(self.photos)

    monkeypatch.setattr(DevCaptions, "caption", caption)
    monkeypatch.setattr(DevCaptions, "score", lambda self, made: {"cider": next(scores)})
    arguments = [
        "scst",
        "--init",
        tmp_path / "checkpoint",
        "--data",
        tmp_path / "data",
        "--out",
        tmp_path / "out",
    ]
    arguments += ["--config", tmp_path / "recipe.yaml", "--cache", tmp_path / "cache"]
    assert main([*map(str, arguments)]) == 0

    reports = [json.loads(line) for line in (tmp_path / "out" / "history.jsonl").read_text().splitlines()]
    assert [report["epoch"] for report in reports] == [0, 1, 2]
    kept = load_checkpoint(tmp_path / "out" / "checkpoint")
    start = load_checkpoint(tmp_path / "checkpoint")
    assert kept.options == start.options
    for name, value in kept.model.state_dict().items():
        assert torch.equal(value, seen[1][name].half().float()), name
        assert torch.equal(start.model.state_dict()[name], seen[0][name]), name


def test_the_reward_of_drawn_tokens_is_that_of_their_text(tmp_path: Path) -> None:
    recipe = make_recipe(tmp_path)
    start, captions, split = make_start(tmp_path, recipe)
    reward = reward_of(captions)
    stage = Scst(recipe, start, split, reward, world=ALONE)
    texts = ["a red dog runs", "a red dog", "white snow", "two birds", "a blue man", "a man", "x", "a dog"]
    rows = [[*start.tokenizer.encode(text), 0] for text in texts]
    rows[1].pop()  # it did not end
    width = max(map(len, rows))
    targets = torch.tensor([row + [PADDING] * (width - len(row)) for row in rows])
    by_hand = [
        [
            reward.scores(photo, [[*words(text), END][: None if text != "a red dog" else -1]])[0]
            for text in group
        ]
        for photo, group in ((0, texts[:4]), (2, texts[4:]))
    ]
    torch.testing.assert_close(stage.rewards([0, 2], targets), torch.tensor(by_hand).float())


def test_a_resumed_run_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = make_recipe(tmp_path)
    whole = make_run(tmp_path, "whole", recipe)
    save, calls = Loop.save, 0

    def save_and_die(self: Loop, done: int) -> None:
        nonlocal calls
        calls += 1
        save(self, done)
        if calls == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Loop, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        make_run(tmp_path, "killed", recipe)
    killed = make_run(tmp_path, "killed", recipe)
    assert calls == 6
    for name in ("snapshot.safetensors", "checkpoint/model.safetensors"):
        one, other = load_file(whole / name), load_file(killed / name)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), name


def test_a_frozen_encoder_stays_as_it_is(tmp_path: Path) -> None:
    out = make_run(
        tmp_path, "out", make_recipe(tmp_path, encoder_rate=0, cross_entropy_weight=0, samples_per_photo=32)
    )
    before = dict(load_checkpoint(tmp_path / "checkpoint").model.named_parameters())
    after = load_file(out / "snapshot.safetensors")
    changed = {name for name, tensor in before.items() if not torch.equal(after[f"network.{name}"], tensor)}
    assert changed
    assert not any(name.startswith("encoder.") for name in changed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples_per_photo": 1}, "samples_per_photo: 1 is not an integer of at least 2"),
        ({"encoder_rate": 2}, "encoder_rate: 2 is not a number from 0 to 1"),
        ({"epochs": 0}, "epochs: 0 is not an integer of at least 1"),
    ],
)
def test_a_bad_recipe_names_the_field(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        make_recipe(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tokens": 17}, "max_tokens: more than the 16 positions"),
        ({"batch_size": 5}, "4 photos are fewer than batch_size, 5"),
    ],
)
def test_the_command_says_what_is_wrong_in_one_line(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, object],
    message: str,
) -> None:
    make_recipe(tmp_path, **changes)
    checkpoint, data = write_tiny_checkpoint(tmp_path / "checkpoint"), write_data(tmp_path / "data")
    (data / "captions_dev.json").unlink()
    given = {"init": checkpoint, "data": data, "config": tmp_path / "recipe.yaml"}
    given |= {"cache": tmp_path / "cache", "out": tmp_path / "out"}
    assert main(["scst", *options(given)]) == 1
    assert len(caplog.messages) == 1
    assert message in caplog.messages[0]
