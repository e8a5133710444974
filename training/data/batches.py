"""Batches for caption training: augmented photos, and for each its captions as token rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from model.checkpoint.folder import Checkpoint
from model.image import ImageConfig
from model.tokenizer import Tokenizer
from training.data.captions import CaptionSet, may_be_mirrored, normalise
from training.data.photos import Photos
from training.errors import DataError
from training.world import World

PADDING = -100
"""Target of positions after a caption's end; the end token itself has an id and is learned."""

Rng = np.random.Generator


@dataclass(frozen=True)
class Augmentation:
    """What a photo may go through and still fit its captions."""

    least_area: float  # a crop keeps at least this share of the photo, up to all of it
    aspect: float  # width : height of a crop is between 1 / aspect and aspect
    brightness: float  # pixels are scaled by 1 ± this
    contrast: float  # distances to the mean colour are scaled by 1 ± this

    def __post_init__(self) -> None:
        if not 0 < self.least_area <= 1:
            raise ValueError("least_area: above 0, up to 1 is needed")
        if self.aspect < 1:
            raise ValueError("aspect: at least 1 is needed")
        if not (0 <= self.brightness < 1 and 0 <= self.contrast < 1):
            raise ValueError("brightness and contrast: from 0 to below 1 is needed")


@dataclass(frozen=True)
class TokenisedCaptions:
    """Token ids of every caption of every photo, and which photos may be mirrored."""

    rows: tuple[tuple[tuple[int, ...], ...], ...]  # photo → caption → ids, without start or end
    mirrored: tuple[bool, ...]
    start: int  # id of the token that comes first
    end: int  # id of the token that ends and pads

    @classmethod
    def of(cls, captions: CaptionSet, tokenizer: Tokenizer, start: int, end: int) -> "TokenisedCaptions":
        """Normalise and tokenise all captions of a split."""
        texts = [normalise(caption) for group in captions.captions for caption in group]
        encoded = iter(tokenizer.backend.encode_batch(texts, add_special_tokens=False))
        return cls(
            rows=tuple(tuple(tuple(next(encoded).ids) for _ in group) for group in captions.captions),
            mirrored=tuple(may_be_mirrored(group) for group in captions.captions),
            start=start,
            end=end,
        )


@dataclass(frozen=True)
class Split:
    """Photos and their tokenised captions, index by index."""

    photos: Photos
    captions: TokenisedCaptions
    maps: npt.NDArray[np.float16] | None = None
    """(views, photos, C, h, w): what frozen layers made of views of the photos, where a recipe has such."""

    def steps_per_epoch(self, batch_size: int) -> int:
        """Tell how many batches an epoch has; raises DataError where there are too few photos for one."""
        if len(self.photos) < batch_size:
            raise DataError(f"{len(self.photos)} photos are fewer than batch_size, {batch_size}")
        return len(self.photos) // batch_size


@dataclass(frozen=True)
class Batch:
    """Teacher-forced captions of B photos, n for each, side by side."""

    pixels: Tensor  # (B, 3, size, size) float32, normalised as the network wants it; or maps of `views`
    inputs: Tensor  # (B · n, T) int64: start token, words, padding
    targets: Tensor  # (B · n, T) int64: words, end token, PADDING

    @property
    def tokens(self) -> Tensor:
        """How many targets count."""
        return self.targets.ne(PADDING).sum()

    def parts(self, number: int) -> Iterator["Batch"]:
        """Cut into `number` batches of as many photos; it divides their number."""
        tensors = (self.pixels, self.inputs, self.targets)
        for pixels, inputs, targets in zip(*(tensor.chunk(number) for tensor in tensors), strict=True):
            yield Batch(pixels, inputs, targets)

    def to(self, device: torch.device) -> "Batch":
        """Move to a device."""
        return Batch(*(tensor.to(device) for tensor in (self.pixels, self.inputs, self.targets)))


def tokenised(found: tuple[CaptionSet, Photos], network: Checkpoint) -> Split:
    """Tokenise the captions of a split as a network reads them."""
    captions, photos = found
    config = network.model.config
    ids = (config.decoder_start_token_id, config.eos_token_ids[0])
    return Split(photos, TokenisedCaptions.of(captions, network.tokenizer, *ids))


def caption_rows(
    captions: Sequence[Sequence[int]], end: int, most: int, start: int | None = None
) -> tuple[Tensor, Tensor]:
    """Make inputs and targets (captions, T) of token rows; T is the longest with its end, or `most`.

    A caption that is cut off has no end token to learn. `start` is the end token where it is None.
    """
    length = min(most, 1 + max(len(caption) for caption in captions))
    inputs = torch.full((len(captions), length), end)
    targets = torch.full((len(captions), length), PADDING)
    first = end if start is None else start
    for row, caption in enumerate(captions):
        framed = torch.tensor([first, *caption, end])[: length + 1]
        inputs[row, : len(framed) - 1] = framed[:-1]
        targets[row, : len(framed) - 1] = framed[1:]
    return inputs, targets


def choose_captions(rows: Sequence[Sequence[int]], number: int, rng: Rng) -> list[Sequence[int]]:
    """Choose `number` of a photo's captions: none twice before each was taken once."""
    rounds = -(-number // len(rows))
    order = np.concatenate([rng.permutation(len(rows)) for _ in range(rounds)])
    return [rows[index] for index in order[:number]]


def augment(photo: npt.NDArray[np.uint8], mirror: bool, how: Augmentation, rng: Rng) -> Tensor:
    """Crop, enlarge and recolour one photo (size, size, 3) → (3, size, size) float32, −1 to 1."""
    size = len(photo)
    area = rng.uniform(how.least_area, 1)
    stretch = np.exp(rng.uniform(-1, 1) * np.log(how.aspect) / 2)
    width, height = (min(size, round(size * np.sqrt(area) * s)) for s in (stretch, 1 / stretch))
    left, top = rng.integers(size - width + 1), rng.integers(size - height + 1)
    crop = photo[top : top + height, left : left + width]
    crop = crop[:, ::-1] if mirror else crop
    pixels = torch.from_numpy(crop.copy()).permute(2, 0, 1).unsqueeze(0)  # channels last in memory
    scaled = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)[0].float() / 127.5
    scaled = scaled * rng.uniform(1 - how.brightness, 1 + how.brightness)
    mean = scaled.mean()
    return (mean + (scaled - mean) * rng.uniform(1 - how.contrast, 1 + how.contrast)).clamp(0, 2) - 1


def normalised(pixels: Tensor, image: ImageConfig) -> Tensor:
    """Pixels (…, 3, height, width) from −1 to 1 → the values that the network was made for."""
    if image.rescale_factor == 1 / 255 and {*image.mean, *image.std} == {0.5}:
        return pixels  # they are those
    mean, std = torch.tensor(image.mean).view(3, 1, 1), torch.tensor(image.std).view(3, 1, 1)
    return ((pixels + 1) * (127.5 * image.rescale_factor) - mean) / std


def unchanged(photos: npt.NDArray[np.uint8], image: ImageConfig) -> Tensor:
    """Photos (B, size, size, 3) as they are → what the engine makes of them, (B, 3, size, size)."""
    pixels = torch.from_numpy(np.array(photos)).permute(0, 3, 1, 2).float()  # 0 … 255
    mean, std = torch.tensor(image.mean).view(3, 1, 1), torch.tensor(image.std).view(3, 1, 1)
    return (pixels * image.rescale_factor - mean) / std


def draw_photos(
    step: int, *, photos: int, batch_size: int, seed: int, world: World
) -> tuple[list[int], list[Rng]]:
    """Choose this process's share of a step's photos: their indices, and a generator for each.

    An epoch shows every photo once, but for those that are left over. What is drawn for a photo depends on
    the seed, the step and its place in the batch, whatever process has it.
    """
    epoch, position = divmod(step, photos // batch_size)
    order = np.random.default_rng((seed, 0, epoch)).permutation(photos)
    share = batch_size // world.size
    places = range(world.rank * share, (world.rank + 1) * share)
    indices = [int(order[position * batch_size + place]) for place in places]
    return indices, [np.random.default_rng((seed, 1, step, place)) for place in places]


def draw_batch(
    split: Split,
    indices: Sequence[int],
    rngs: Sequence[Rng],
    *,
    captions_per_photo: int,
    most: int,
    how: Augmentation,
    image: ImageConfig,
) -> Batch:
    """Photos `indices` with captions drawn for each; rows hold up to `most` tokens.

    A photo is augmented, or one of its views in the split's maps is drawn. Every photo has a generator of its
    own, so that it does not matter who else is in the batch.
    """
    captions = split.captions
    chosen: list[Sequence[int]] = []
    pixels = []
    for index, rng in zip(indices, rngs, strict=True):
        chosen.extend(choose_captions(captions.rows[index], captions_per_photo, rng))
        if split.maps is None:
            drawn = augment(split.photos[index], captions.mirrored[index] and rng.random() < 0.5, how, rng)
            pixels.append(normalised(drawn, image))
        else:
            pixels.append(
                torch.from_numpy(split.maps[rng.integers(len(split.maps)), index].astype(np.float32))
            )
    inputs, targets = caption_rows(chosen, captions.end, most, captions.start)
    return Batch(torch.stack(pixels), inputs, targets)
