"""Training on maps of frozen layers: they are what the layers make of the photos, and the layers stay."""

import copy
import multiprocessing
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from model.checkpoint.folder import load_checkpoint, save_checkpoint
from model.image import ImageConfig
from model.network.config import ConvStemConfig
from model.network.conv_stem import ConvStem
from tests.training.stages.test_scst import make_recipe as scst_recipe
from tests.training.tiny_data import ALONE, RECIPE, options, write_data
from training.__main__ import main
from training.data.batches import Augmentation, Split, TokenisedCaptions, augment, normalised, unchanged
from training.data.folder import load_data
from training.data.views import Maps, ViewsRecipe, load_views
from training.errors import DataError, RecipeError
from training.loop import Loop
from training.recipe import read_recipe
from training.stages.captions import Captions, CaptionsRecipe
from training.stages.frozen import with_views
from training.stages.scst import Scst
from training.stages.self_critical import reward_of
from training.stages.start import new_network

IMAGE = ImageConfig(size=(32, 32))
HOW = Augmentation(least_area=0.5, aspect=1.2, brightness=0.2, contrast=0.2)
STEM = {"first_width": 4, "stages": [[1, 3, 2, 1, 6], [2, 3, 2, 2, 8]], "width": 12}
CHANGES = {
    "encoder": yaml.safe_load(RECIPE)["encoder"] | {"stem": STEM},
    "views": {"number": 3, "start": 2},
}


def small_stem(seed: int = 0) -> ConvStem:
    torch.manual_seed(seed)
    stages = ((1, 3, 2, 1, 6), (2, 3, 2, 2, 8))
    return ConvStem(ConvStemConfig(first_width=4, stages=stages, width=12))


def photos(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


def views(
    cache: Path, stem: ConvStem | None = None, *, pixels: np.ndarray | None = None, **changes: object
) -> Maps:
    given: dict[str, object] = {"recipe": ViewsRecipe(3, 2), "how": HOW, "seed": 5} | changes
    return load_views(
        small_stem() if stem is None else stem,
        photos() if pixels is None else pixels,
        (True, True, False, True, False),
        IMAGE,
        cache=cache,
        **given,  # type: ignore[arg-type]
    )


@torch.no_grad()
def test_maps_are_what_the_frozen_layers_make_of_the_views(tmp_path: Path) -> None:
    stem, maps = small_stem(), views(tmp_path)
    plain = stem.before(unchanged(photos(), IMAGE), 2)
    torch.testing.assert_close(torch.from_numpy(maps[0].copy()).float(), plain, rtol=1e-3, atol=1e-3)
    for view in (1, 2):
        for index, mirrored in enumerate((True, True, False, True, False)):
            rng = np.random.default_rng((5, 3, view, index))
            drawn = augment(photos()[index], mirrored and rng.random() < 0.5, HOW, rng)
            expected = stem.before(normalised(drawn, IMAGE).unsqueeze(0), 2)[0]
            found = torch.from_numpy(maps[view, index].copy()).float()
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_they_are_computed_once_for_the_same_photos_layers_and_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = views(tmp_path)
    later = small_stem()
    torch.nn.init.zeros_(later.blocks[2].project.weight)  # type: ignore[union-attr, arg-type]
    torch.nn.init.zeros_(later.last.weight)
    monkeypatch.setattr(ConvStem, "before", None)  # would fail if it was called
    assert (views(tmp_path) == first).all()
    assert (views(tmp_path, later) == first).all()  # those layers are not frozen
    assert (views(tmp_path, small_stem().half().float()) == first).all()  # as a checkpoint keeps them


@pytest.mark.parametrize(
    "changes",
    [
        {"stem": small_stem(1)},
        {"pixels": photos(1)},
        {"seed": 6},
        {"how": replace(HOW, contrast=0.1)},
        {"recipe": ViewsRecipe(2, 2)},
        {"recipe": ViewsRecipe(3, 1)},
    ],
)
def test_they_are_computed_anew_for_others(tmp_path: Path, changes: dict[str, object]) -> None:
    views(tmp_path)
    views(tmp_path, **changes)  # type: ignore[arg-type]
    assert len(list(tmp_path.glob("views-*.npy"))) == 2


@pytest.mark.parametrize("index", [0, 1, 150, 299])
def test_any_photo_counts(tmp_path: Path, index: int) -> None:
    """One that is replaced, among more than a sample of them would hold."""
    pixels = np.random.default_rng(0).integers(0, 256, (300, 4, 4, 3), dtype=np.uint8)
    changed = pixels.copy()
    changed[index] ^= 255
    for shown in (pixels, changed):
        load_views(
            small_stem(),
            shown,
            [True] * 300,
            IMAGE,
            recipe=ViewsRecipe(1, 1),
            how=HOW,
            seed=5,
            cache=tmp_path,
        )
    assert len(list(tmp_path.glob("views-*.npy"))) == 2


def test_a_full_disk_is_told_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(DataError, match=r"the maps of the photos need 0 MB in .*, where 0 are left"):
        views(tmp_path)
    assert not list(tmp_path.glob("views-*.npy"))


def test_what_a_killed_run_left_takes_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.array(views(tmp_path))
    (path,) = tmp_path.glob("views-*.npy")
    path.rename(path.with_suffix(".aside"))
    left: list[bool] = []
    monkeypatch.setattr(
        "training.data.views.check_space", lambda *_: left.append(path.with_suffix(".aside").exists())
    )
    assert (views(tmp_path) == whole).all()
    assert left == [False]


def _load(cache: Path, calls: "multiprocessing.Queue[int]") -> None:
    torch.set_num_threads(1)
    before = ConvStem.before

    def counted(self: ConvStem, pixels: torch.Tensor, start: int) -> torch.Tensor:
        calls.put(len(pixels))
        time.sleep(0.2)  # long enough that the other process comes by
        return before(self, pixels, start)

    ConvStem.before = counted  # type: ignore[method-assign]  # in this process alone
    views(cache)


def test_of_two_processes_one_computes_and_the_other_waits(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    calls = context.Queue()
    both = [context.Process(target=_load, args=(tmp_path, calls)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
        assert process.exitcode == 0
    assert sorted(calls.get(timeout=10) for _ in range(4)) == [1, 5, 5, 5]  # the shape, then three views
    assert calls.empty()


@torch.no_grad()
def test_photos_are_mirrored_only_where_they_may_be(tmp_path: Path) -> None:
    plain = Augmentation(least_area=1, aspect=1, brightness=0, contrast=0)
    maps = views(tmp_path, how=plain, recipe=ViewsRecipe(9, 1))
    flipped = small_stem().before(unchanged(photos()[:, :, ::-1], IMAGE), 1).numpy()
    for index, may in enumerate((True, True, False, True, False)):
        same = [np.allclose(maps[view, index], maps[0, index], atol=1e-2) for view in range(9)]
        mirror = [np.allclose(maps[view, index], flipped[index], atol=1e-2) for view in range(9)]
        assert all(one != other for one, other in zip(same, mirror, strict=True))
        assert set(same) == ({True, False} if may else {True})


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
    for wrong in ({"number": -1, "start": 1}, {"number": 1, "start": 0}):
        with pytest.raises(RecipeError, match="number: at least 0 is needed; start: at least 1"):
            make_stage(tmp_path, views=wrong)
