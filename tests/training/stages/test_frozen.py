"""Training on maps of frozen layers: the layers stay, and steps are those on the photos."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from model.checkpoint.folder import load_checkpoint, save_checkpoint
from model.image import ImageConfig
from model.network.config import ConvStemConfig
from tests.training.stages.test_scst import make_recipe as scst_recipe
from tests.training.tiny_data import ALONE, RECIPE, options, write_data
from training.__main__ import main
from training.data.batches import Split, TokenisedCaptions
from training.data.folder import load_data
from training.errors import RecipeError
from training.loop import Loop
from training.recipe import read_recipe
from training.stages.captions import Captions, CaptionsRecipe
from training.stages.frozen import with_views
from training.stages.scst import Scst
from training.stages.self_critical import reward_of
from training.stages.start import new_network

IMAGE = ImageConfig(size=(32, 32))
STEM = {"first_width": 4, "stages": [[1, 3, 2, 1, 6], [2, 3, 2, 2, 8]], "width": 12}
CHANGES = {
    "encoder": yaml.safe_load(RECIPE)["encoder"] | {"stem": STEM},
    "views": {"number": 3, "start": 2},
}


def make_stage(tmp_path: Path, **changes: object) -> Captions:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(yaml.safe_load(RECIPE) | CHANGES | changes))
    data = tmp_path / "data"
    data = data if data.exists() else write_data(data)
    captions, pixels = load_data(data, IMAGE, tmp_path / "cache").train
    recipe = read_recipe(tmp_path / "recipe.yaml", CaptionsRecipe)
    start = new_network(recipe, captions)
    split = Split(pixels, TokenisedCaptions.of(captions, start.tokenizer, 0, 0))
    assert recipe.views is not None
    split = with_views(
        split, start, recipe.views, recipe.augmentation, seed=recipe.seed, cache=tmp_path / "cache"
    )
    return Captions(recipe, start, split, ALONE)


def loss(stage: Captions, step: int) -> float:
    return Loop(stage, ALONE, Path()).step(step)["loss"]


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_frozen_layers_stay_and_the_others_learn(tmp_path: Path, rate: float) -> None:
    stage = make_stage(tmp_path, stem_rate=rate)
    before = copy.deepcopy(stage.model.encoder.state_dict())
    loop = Loop(stage, ALONE, tmp_path)
    loop.step(0)
    loop.step(1)
    moved = {
        name for name, weight in stage.model.encoder.state_dict().items() if not weight.equal(before[name])
    }
    stem = {name.removeprefix("embedding.stem.") for name in moved if "stem" in name}
    assert {name.split(".weight")[0].split(".bias")[0] for name in stem} == (
        {"blocks.2.expand", "blocks.2.project", "last"} if rate else set()
    )
    assert {name for name in before if "stem" not in name} <= moved | {"embedding.projection.bias"}


def test_a_resumed_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    changes = {"stem_rate": 0.5, "epochs": 6, "batch_size": 2, "views": {"number": 3, "start": 2}}
    whole, first, second = (make_stage(tmp_path, **changes) for _ in range(3))
    for step in range(whole.plan.steps):
        Loop(whole, ALONE, tmp_path).step(step)
    for step in range(5):
        Loop(first, ALONE, tmp_path).step(step)
    Loop(first, ALONE, tmp_path).save(5)
    for step in range(Loop(second, ALONE, tmp_path).resume(), second.plan.steps):
        Loop(second, ALONE, tmp_path).step(step)
    for one, other in ((whole.model, second.model), (whole.average, second.average)):
        found = other.state_dict()
        assert all(weight.equal(found[name]) for name, weight in one.state_dict().items())


def test_steps_on_maps_are_steps_on_the_photos(tmp_path: Path) -> None:
    """With one view, the photo as it is, the loss is that of the same network on photos."""
    stage = make_stage(tmp_path, views={"number": 1, "start": 2})
    whole = make_stage(tmp_path)
    recipe = replace(whole.recipe, views=None)
    photos_alone = Captions(recipe, whole.start, replace(whole.split, maps=None), ALONE)
    photos_alone.model.load_state_dict(stage.model.state_dict())
    assert loss(stage, 0) == pytest.approx(loss(photos_alone, 0), rel=1e-3)


def test_without_kept_maps_each_step_draws_new_views(tmp_path: Path) -> None:
    """Those that the seed and the step say, and the steps are those of a network with frozen layers."""
    stage = make_stage(tmp_path, views={"number": 0, "start": 2}, stem_rate=0.5)
    assert stage.split.maps is None
    assert not list((tmp_path / "cache").glob("views-*"))
    twin = make_stage(tmp_path, views={"number": 0, "start": 2}, stem_rate=0.5)
    on_photos = Captions(replace(twin.recipe, views=None), twin.start, twin.split, ALONE)
    drawn = on_photos.batch(3)
    assert drawn.pixels.shape[1] == 3
    stem = stage.model.encoder.embedding.stem
    assert stem is not None
    with torch.no_grad(), ALONE.autocast():
        expected = stem.before(drawn.pixels, 2)
    found = stage.batch(3)
    torch.testing.assert_close(found.pixels, expected, rtol=2e-2, atol=2e-2)
    assert found.targets.equal(drawn.targets)
    assert not found.pixels.requires_grad
    assert loss(stage, 3) == pytest.approx(loss(on_photos, 3), rel=1e-3)


def test_a_hybrid_learns_its_captions_and_is_saved(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    (tmp_path / "recipe.yaml").write_text(
        yaml.safe_dump(
            yaml.safe_load(RECIPE) | CHANGES | {"views": {"number": 1, "start": 2}, "stem_rate": 1.0}
        )
    )
    given = {
        "data": data,
        "config": tmp_path / "recipe.yaml",
        "out": tmp_path / "out",
        "cache": tmp_path / "c",
    }
    assert main(["captions", *options(given)]) == 0
    found = load_checkpoint(tmp_path / "out" / "checkpoint")
    assert found.model.config.encoder.stem == small_stem_config()
    report = (tmp_path / "out" / "history.jsonl").read_text()
    assert '"cider"' in report


def small_stem_config() -> ConvStemConfig:
    return ConvStemConfig(first_width=4, stages=((1, 3, 2, 1, 6), (2, 3, 2, 2, 8)), width=12)


@pytest.mark.parametrize("number", [0, 3])
def test_rewards_learn_from_maps_and_leave_the_stem(tmp_path: Path, number: int) -> None:
    views = {"number": number, "start": 2}
    captioner = make_stage(tmp_path, views=views)
    save_checkpoint(tmp_path / "start", captioner.start, dtype=torch.float32)
    start = load_checkpoint(tmp_path / "start")
    captions, _ = load_data(tmp_path / "data", IMAGE, tmp_path / "cache").train
    recipe = scst_recipe(tmp_path, views=views)
    stage = Scst(recipe, start, captioner.split, reward_of(captions), world=ALONE)
    before = copy.deepcopy(stage.network.state_dict())
    loop = Loop(stage, ALONE, tmp_path)
    loop.step(0)
    loop.step(1)
    after = stage.network.state_dict()
    assert all(after[name].equal(before[name]) for name in before if "stem" in name)
    assert not after["encoder.norm.weight"].equal(before["encoder.norm.weight"])


def test_views_need_a_stem(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="views: frozen layers are those of an encoder with a stem"):
        make_stage(tmp_path, encoder=yaml.safe_load(RECIPE)["encoder"])
    with pytest.raises(RecipeError, match="views, start: more than the 3 blocks"):
        make_stage(tmp_path, views={"number": 1, "start": 4})
    with pytest.raises(RecipeError, match="views: number: -1 is not an integer of at least 0"):
        make_stage(tmp_path, views={"number": -1, "start": 1})
    with pytest.raises(RecipeError, match="views: start: 0 is not an integer of at least 1"):
        make_stage(tmp_path, views={"number": 1, "start": 0})
