"""How often number format and batching change a caption."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model.captioner import Captioner
from training.progress import Progress

BATCH = 32


@dataclass(frozen=True, slots=True)
class Agreement:
    """Shares of photos, 0 to 1, that get the same caption."""

    photos: int
    float32_batched: float  # float32 in batches of 32 = float32 one by one
    bfloat16_batched: float  # bfloat16 in batches of 32 = bfloat16 one by one
    bfloat16: float  # bfloat16 one by one = float32 one by one


def agreement(checkpoint: Path, photos: list[bytes]) -> Agreement:
    """Caption all photos four ways and compare the texts."""
    texts = {}
    for dtype in (torch.float32, torch.bfloat16):
        captioner = Captioner.from_folder(checkpoint, dtype=dtype)
        pixels = [captioner.preprocess(photo) for photo in photos]
        for batch in (1, BATCH):
            what = f"{str(dtype).removeprefix('torch.')}, batches of {batch}"
            texts[dtype, batch] = captions(captioner, pixels, batch, what)

    def same(one: tuple[torch.dtype, int], other: tuple[torch.dtype, int]) -> float:
        return sum(a == b for a, b in zip(texts[one], texts[other], strict=True)) / len(photos)

    return Agreement(
        photos=len(photos),
        float32_batched=same((torch.float32, BATCH), (torch.float32, 1)),
        bfloat16_batched=same((torch.bfloat16, BATCH), (torch.bfloat16, 1)),
        bfloat16=same((torch.bfloat16, 1), (torch.float32, 1)),
    )


def captions(captioner: Captioner, pixels: list[Tensor], batch: int, what: str) -> list[str]:
    """Best caption of each photo, `batch` photos at a time; `what` is said of the progress."""
    texts: list[str] = []
    with Progress(what, len(pixels), "photo") as progress:
        for start in range(0, len(pixels), batch):
            made = captioner.caption(pixels[start : start + batch])
            texts += [best.text for best, *_ in made]
            progress.advance(len(made))
    return texts
