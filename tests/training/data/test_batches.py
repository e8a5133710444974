import io

import numpy as np
import pytest
import torch
from PIL import Image

from model.image import ImageConfig, decode, to_tensor
from training.data.batches import (
    PADDING,
    Augmentation,
    Batch,
    Split,
    TokenisedCaptions,
    augment,
    caption_rows,
    choose_captions,
    draw_batch,
    normalised,
    unchanged,
)

UNCHANGED = Augmentation(least_area=1, aspect=1, brightness=0, contrast=0)


def test_rows_shift_by_one_and_pad() -> None:
    inputs, targets = caption_rows([[5, 6], [7]], end=0, most=10)
    assert inputs.tolist() == [[0, 5, 6], [0, 7, 0]]
    assert targets.tolist() == [[5, 6, 0], [7, 0, PADDING]]


def test_captions_start_with_a_token_of_their_own_where_there_is_one() -> None:
    inputs, targets = caption_rows([[5, 6], [7]], end=0, most=10, start=9)
    assert inputs.tolist() == [[9, 5, 6], [9, 7, 0]]
    assert targets.tolist() == [[5, 6, 0], [7, 0, PADDING]]


def test_a_caption_that_is_cut_has_no_end() -> None:
    inputs, targets = caption_rows([[5, 6, 7]], end=0, most=2)
    assert inputs.tolist() == [[0, 5]]
    assert targets.tolist() == [[5, 6]]


def test_every_caption_is_chosen_before_one_is_repeated() -> None:
    rng = np.random.default_rng(0)
    rows = [(1,), (2,), (3,)]
    assert sorted(map(tuple, choose_captions(rows, 3, rng))) == rows
    assert sorted(map(tuple, choose_captions(rows, 6, rng))) == sorted(rows * 2)
    assert len(set(choose_captions(rows, 2, rng))) == 2


def test_an_unchanged_photo_is_only_scaled() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    pixels = augment(photo, mirror=False, how=UNCHANGED, rng=np.random.default_rng(0))
    torch.testing.assert_close(pixels.permute(1, 2, 0), torch.from_numpy(photo) / 127.5 - 1)
    mirrored = augment(photo, mirror=True, how=UNCHANGED, rng=np.random.default_rng(0))
    torch.testing.assert_close(mirrored, pixels.flip(-1))


def test_only_photos_that_may_be_are_mirrored() -> None:
    photo = np.zeros((2, 4, 4, 3), np.uint8)
    photo[:, :, 0] = 255  # a white left edge
    captions = TokenisedCaptions(rows=(((1,),), ((1,),)), mirrored=(False, True), start=0, end=0)
    left_edges = [
        draw_batch(
            Split(photo, captions),
            [0, 1],
            np.random.default_rng(seed).spawn(2),
            captions_per_photo=1,
            most=4,
            how=UNCHANGED,
            image=ImageConfig(size=(4, 4)),
        )
        .pixels[:, 0, 0, 0]
        .tolist()
        for seed in range(20)
    ]
    assert {first for first, _ in left_edges} == {1.0}
    assert {second for _, second in left_edges} == {1.0, -1.0}


def test_it_does_not_matter_who_else_is_in_a_batch() -> None:
    photos = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    rows = tuple(((10 * index, 1), (10 * index, 2), (10 * index, 3)) for index in range(4))
    captions = TokenisedCaptions(rows, mirrored=(True,) * 4, start=0, end=0)
    how = Augmentation(least_area=0.5, aspect=1.3, brightness=0.2, contrast=0.2)

    def batch(indices: list[int]) -> Batch:
        rngs = [np.random.default_rng((7, index)) for index in indices]
        image = ImageConfig(size=(16, 16))
        return draw_batch(
            Split(photos, captions), indices, rngs, captions_per_photo=2, most=4, how=how, image=image
        )

    whole = batch([2, 0, 3, 1])
    halves = [batch([2, 0]), batch([3, 1])]
    for cut in (halves, list(whole.parts(2))):
        assert torch.equal(torch.cat([half.pixels for half in cut]), whole.pixels)
        assert torch.equal(torch.cat([half.targets for half in cut]), whole.targets)
    assert whole.tokens.item() == 4 * 2 * 3


def test_a_view_is_drawn_where_there_are_maps() -> None:
    captions = TokenisedCaptions((((1,),), ((2,),)), mirrored=(True,) * 2, start=0, end=0)
    photos = np.zeros((2, 4, 4, 3), np.uint8)
    maps = np.arange(3 * 2, dtype=np.float16).reshape(3, 2, 1, 1, 1)
    image = ImageConfig(size=(4, 4))
    drawn = [
        draw_batch(
            Split(photos, captions, maps),
            [1, 0],
            rngs,
            captions_per_photo=1,
            most=4,
            how=UNCHANGED,
            image=image,
        )
        for rngs in (np.random.default_rng(seed).spawn(2) for seed in range(20))
    ]
    assert drawn[0].pixels.shape == (2, 1, 1, 1)
    assert {int(batch.pixels[0]) for batch in drawn} == {1, 3, 5}  # every view of photo 1
    assert {int(batch.pixels[1]) for batch in drawn} == {0, 2, 4}


@pytest.mark.parametrize(
    "image",
    [
        ImageConfig(size=(16, 16)),
        ImageConfig((16, 16), Image.Resampling.BICUBIC, mean=(0.48, 0.46, 0.41), std=(0.27, 0.26, 0.28)),
    ],
)
def test_pixels_are_those_that_the_engine_makes(image: ImageConfig) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, "PNG")
    engine = to_tensor(decode(stream.getvalue()), image)
    assert torch.equal(unchanged(photo[None], image)[0], engine)
    augmented = augment(photo, mirror=False, how=UNCHANGED, rng=np.random.default_rng(0))
    torch.testing.assert_close(normalised(augmented, image), engine, atol=1e-5, rtol=1e-5)
