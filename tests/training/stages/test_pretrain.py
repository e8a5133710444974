import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

from model.network.config import VisionConfig
from model.network.encoder import Encoder
from tests.training.tiny_data import ALONE
from training.data.cutmix import draw_rectangle
from training.data.labelled_images import read_labelled_images
from training.data.recolour import Recolouring
from training.data.soft_crops import crop_photo, draw_crops
from training.data.soft_labels import (
    CROP_CLASSES,
    CROPS,
    GRID,
    GRID_CLASSES,
    PHOTO_SIZE,
    SoftLabels,
    grid_cells,
    read_soft_labels,
    soft_cross_entropy,
)
from training.errors import DataError, RecipeError
from training.loop import Loop
from training.optimizers import OptimizerRecipe
from training.stages.pretrain import Pretrain, PretrainRecipe

RECIPE = PretrainRecipe(
    encoder=VisionConfig(32, 1, 2, 64, image_size=56, patch_size=8),
    steps=60,
    photos_per_step=2,
    images_per_step=8,
    optimizer=OptimizerRecipe(muon_rate=1e-2, adamw_rate=3e-3, weight_decay=0, gradient_norm=1),
    warmup_steps=2,
    grid_weight=1.0,
    label_smoothing=0.0,
    cutmix=0.2,
    recolouring=Recolouring((0.9, 1.1), (0.9, 1.1), (0.9, 1.1)),
    kept_patches=12,
    classes=1001,
    held_out=2,
    seed=0,
)


def make_labels(photos: int = 2) -> SoftLabels:
    rng = np.random.default_rng(0)
    boxes = np.tile(np.array([0, 0, 224, 224], np.uint8), (photos, CROPS, 1))
    boxes[:, 1] = [32, 64, 64, 96]
    return SoftLabels(
        names=tuple(f"{index}.webp" for index in range(photos)),
        boxes=boxes,
        crop_ids=rng.integers(1001, size=(photos, CROPS, CROP_CLASSES), dtype=np.uint16),
        crop_probs=rng.dirichlet(np.ones(20), (photos, CROPS))[..., :CROP_CLASSES].astype(np.float16),
        grid_ids=rng.integers(1001, size=(photos, GRID, GRID, GRID_CLASSES), dtype=np.uint16),
        grid_probs=rng.dirichlet(np.ones(6), (photos, GRID, GRID))[..., :GRID_CLASSES].astype(np.float16),
    )


def write_labels(path: Path, labels: SoftLabels) -> None:
    arrays: dict[str, npt.NDArray[Any]] = {
        "crops": labels.boxes,
        "ids": labels.crop_ids,
        "probs": labels.crop_probs,
        "grid_ids": labels.grid_ids,
        "grid_probs": labels.grid_probs,
    }
    columns: dict[str, list[bytes]] = {
        name: [row.tobytes() for row in array] for name, array in arrays.items()
    }
    pq.write_table(pa.table({"file_name": list(labels.names), **columns}), path)


def test_labels_survive_their_file(tmp_path: Path) -> None:
    labels = make_labels()
    write_labels(tmp_path / "labels.parquet", labels)
    found = read_soft_labels(tmp_path / "labels.parquet")
    assert found.names == labels.names
    for name in ("boxes", "crop_ids", "crop_probs", "grid_ids", "grid_probs"):
        np.testing.assert_array_equal(getattr(found, name), getattr(labels, name))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"file_name": ["a"], "crops": [b"123"]}), tmp_path / "labels.parquet")
    with pytest.raises(DataError, match=r"labels\.parquet: column crops does not fit"):
        read_soft_labels(tmp_path / "labels.parquet")


def test_soft_cross_entropy_is_that_of_the_whole_distribution() -> None:
    logits = torch.randn(3, 10)
    ids = torch.tensor([[1, 2], [5, 0], [9, 3]])
    probs = torch.tensor([[0.5, 0.2], [0.9, 0.1], [0.1, 0.0]])
    whole = ((1 - probs.sum(-1, keepdim=True)) / 10).expand(-1, 10).clone()
    whole.scatter_add_(1, ids, probs)
    torch.testing.assert_close(soft_cross_entropy(logits, ids, probs), F.cross_entropy(logits, whole))


def test_cells_under_a_crop() -> None:
    rows, columns = grid_cells(np.array([0, 0, 224, 224], np.uint8), flip=False)
    assert rows.tolist() == columns.tolist() == list(range(GRID))
    # 64 × 96 pixels from (32, 64) on: columns 1 and 2, rows 2 to 4
    rows, columns = grid_cells(np.array([32, 64, 64, 96], np.uint8), flip=True)
    assert columns.tolist() == [2, 2, 2, 2, 1, 1, 1]
    assert rows.tolist() == [2, 2, 3, 3, 3, 4, 4]


def test_a_crop_shows_its_box() -> None:
    photo = np.zeros((PHOTO_SIZE, PHOTO_SIZE, 3), np.uint8)
    photo[64:160, 32:64, 0] = 255  # the left half of the box is red
    crop = crop_photo(photo, np.array([32, 64, 64, 96], np.uint8), flip=False, size=PHOTO_SIZE)
    assert crop.shape == (3, PHOTO_SIZE, PHOTO_SIZE)
    assert crop[0, :, :100].eq(255).all()
    assert crop[0, :, 124:].eq(0).all()
    assert torch.equal(
        crop_photo(photo, np.array([32, 64, 64, 96], np.uint8), True, PHOTO_SIZE), crop.flip(-1)
    )


def test_cutmix_keeps_each_patch_with_its_label() -> None:
    labels = make_labels()
    photos = np.zeros((2, PHOTO_SIZE, PHOTO_SIZE, 3), np.uint8)
    photos[1] = 255
    indices, zeros = np.arange(2), np.zeros(2, np.intp)
    pixels, known = draw_crops(photos, labels, indices, zeros, flips=zeros.astype(bool), size=112)
    assert pixels.shape == (2, 3, 112, 112)
    for seed in range(5):
        rectangle = draw_rectangle(GRID, np.random.default_rng(seed))
        mixed = known.mixed(rectangle)
        patches = F.avg_pool2d(rectangle.paste(pixels)[:, 0].float(), 112 // GRID)
        shown = (patches > 0).long()  # (B, GRID, GRID): which photo each patch shows
        own = torch.arange(2).view(2, 1, 1)
        other = shown != own
        assert other.any()
        grid = known.grid_ids[shown, torch.arange(GRID).view(-1, 1), torch.arange(GRID)]
        assert torch.equal(mixed.grid_ids, grid)
        share = other[0].float().mean()
        assert rectangle.share == pytest.approx(float(share))
        expected = known.probs[0].sum() * (1 - share)
        torch.testing.assert_close(mixed.probs[0, :CROP_CLASSES].sum(), expected)
        assert torch.equal(mixed.ids[0, CROP_CLASSES:], known.ids[1])


def write_images(folder: Path, split: str, colours: list[tuple[int, int, int]], size: int = 16) -> None:
    encoded = []
    for colour in colours:
        buffer = io.BytesIO()
        Image.new("RGB", (size, size), colour).save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    table = pa.table({"image": encoded, "label": pa.array(range(len(colours)), pa.int16())})
    pq.write_table(table, folder / f"{split}.parquet")
    (folder / "classes.json").write_text(json.dumps([{"name": str(index)} for index in range(len(colours))]))


def test_labelled_images_keep_their_classes(tmp_path: Path) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    write_images(tmp_path, "train", colours)
    for _ in range(2):  # decoded, then from the cache
        images = read_labelled_images(tmp_path, "train", tmp_path / "cache")
        crops, classes = images.draw_crops(20, 32, np.random.default_rng(0))
        assert crops.shape == (20, 3, 32, 32)
        assert set(classes.tolist()) == {0, 1, 2}
        for crop, label in zip(crops, classes.tolist(), strict=True):
            assert crop.flatten(1).float().mean(1).tolist() == list(colours[label])
    whole = images.pixels(np.array([2]), 32)
    torch.testing.assert_close(whole[0, :, 5, 5], torch.tensor([-1.0, -1.0, 1.0]))


def test_labelled_images_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"classes\.json cannot be read"):
        read_labelled_images(tmp_path, "train", tmp_path)
    write_images(tmp_path, "train", [(0, 0, 0), (1, 1, 1)])
    with pytest.raises(DataError, match=r"holds no val\*\.parquet"):
        read_labelled_images(tmp_path, "val", tmp_path)
    (tmp_path / "classes.json").write_text("[1]")
    with pytest.raises(DataError, match="column label: 0 to 0 is needed"):
        read_labelled_images(tmp_path, "train", tmp_path)


def test_recolouring_stays_in_range_and_can_be_nothing() -> None:
    photos = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    rng = np.random.default_rng(0)
    same = Recolouring((1, 1), (1, 1), (1, 1))(photos, rng)
    torch.testing.assert_close(same, photos / 127.5 - 1)
    changed = Recolouring((0.5, 1.5), (0.5, 1.5), (0, 1))(photos, rng)
    assert changed.min() >= -1
    assert changed.max() <= 1
    assert not torch.allclose(changed, same, atol=0.05)
    grey = Recolouring((1, 1), (1, 1), (0, 0))(photos, rng)
    torch.testing.assert_close(grey[:, 0], grey[:, 1])
    with pytest.raises(ValueError, match="contrast: two numbers"):
        Recolouring((1, 1), (1, 0.5), (1, 1))


def test_pretraining_learns_and_resumes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photos = rng.integers(256, size=(8, PHOTO_SIZE, PHOTO_SIZE, 3), dtype=np.uint8)
    colours = [(255, 0, 0), (0, 255, 0)]
    write_images(tmp_path, "train", colours)
    write_images(tmp_path, "val", colours)
    images, checked = (read_labelled_images(tmp_path, split, tmp_path) for split in ("train", "val"))

    def make() -> Pretrain:
        return Pretrain(RECIPE, photos, make_labels(8), images, checked=checked, world=ALONE)

    def run(out: Path) -> dict[str, torch.Tensor]:
        stage = make()
        Loop(stage, ALONE, out).run()
        assert stage.measure().scores["images_right"] == 1
        return load_file(out / "encoder.safetensors")

    whole = run(tmp_path / "whole")
    half = Loop(make(), ALONE, tmp_path / "resumed")
    for step in range(30):
        half.step(step)
    half.save(30)
    resumed = run(tmp_path / "resumed")
    for name, weights in whole.items():
        torch.testing.assert_close(weights, resumed[name], rtol=0, atol=0)
    encoder = Encoder(RECIPE.encoder)
    encoder.load_state_dict(whole)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    write_images(tmp_path, "train", [(255, 0, 0), (0, 255, 0)])
    images = read_labelled_images(tmp_path, "train", tmp_path)
    photos = np.zeros((8, PHOTO_SIZE, PHOTO_SIZE, 3), np.uint8)
    stage = Pretrain(RECIPE, photos, make_labels(8), images, checked=images, world=ALONE)
    with torch.no_grad():
        stage.network.of_image.bias.fill_(torch.nan)
    with pytest.raises(RecipeError, match="no finite loss at step 8: lower learning rates"):
        Loop(stage, ALONE, tmp_path).step(7)


def test_fewer_photos_than_a_step_needs_are_told(tmp_path: Path) -> None:
    write_images(tmp_path, "train", [(255, 0, 0), (0, 255, 0)])
    images = read_labelled_images(tmp_path, "train", tmp_path)
    photos = np.zeros((3, PHOTO_SIZE, PHOTO_SIZE, 3), np.uint8)
    with pytest.raises(DataError, match="3 photos are fewer than held_out and photos_per_step, 2 and 2"):
        Pretrain(RECIPE, photos, make_labels(3), images, checked=images, world=ALONE)
