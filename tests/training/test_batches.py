import numpy as np
import torch

from training.batches import (
    PADDING,
    Augmentation,
    TokenisedCaptions,
    augment,
    caption_rows,
    choose_captions,
    training_batch,
)

UNCHANGED = Augmentation(least_area=1, aspect=1, brightness=0, contrast=0)


def test_rows_shift_by_one_and_pad() -> None:
    inputs, targets = caption_rows([[5, 6], [7]], end=0, most=10)
    assert inputs.tolist() == [[0, 5, 6], [0, 7, 0]]
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
    captions = TokenisedCaptions(rows=(((1,),), ((1,),)), mirrored=(False, True), end=0)
    left_edges = [
        training_batch(
            photo,
            captions,
            [0, 1],
            captions_per_photo=1,
            most=4,
            how=UNCHANGED,
            rng=np.random.default_rng(seed),
        )
        .pixels[:, 0, 0, 0]
        .tolist()
        for seed in range(20)
    ]
    assert {first for first, _ in left_edges} == {1.0}
    assert {second for _, second in left_edges} == {1.0, -1.0}
