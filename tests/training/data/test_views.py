"""Maps of frozen layers: what the layers make of the photos, computed once."""

import multiprocessing
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.image import ImageConfig
from model.network.config import ConvStemConfig
from model.network.conv_stem import ConvStem
from training.data.batches import Augmentation, augment, normalised, unchanged
from training.data.views import Maps, ViewsRecipe, load_views
from training.errors import DataError

IMAGE = ImageConfig(size=(32, 32))
HOW = Augmentation(least_area=0.5, aspect=1.2, brightness=0.2, contrast=0.2)


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
