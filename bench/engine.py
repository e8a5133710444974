"""The engine against transformers: same weights, photos, search options and number format.

The two take turns in one process, so that a machine that slows down slows both.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText, GenerationConfig

from model.captioner import Captioner
from training.progress import Progress

ROUNDS = 15
SECONDS = 0.5  # least time that one measurement repeats its work for


@dataclass(frozen=True, slots=True)
class Comparison:
    """Milliseconds a photo of both, and how many times faster the engine is."""

    dtype: str
    batch: int
    ours: float
    theirs: float
    ratio: float  # median over the rounds
    ratio_low: float
    ratio_high: float


def compare(checkpoint: Path, photos: list[bytes], dtype: torch.dtype, batch: int) -> Comparison:
    """Time both on batches of `batch` preprocessed photos, from pixels to token ids."""
    captioner = Captioner.from_folder(checkpoint, dtype=dtype)
    peer: Any = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=dtype, trust_remote_code=True)
    peer.eval()
    generation = GenerationConfig.from_pretrained(checkpoint)
    pixels = [captioner.preprocess(photo) for photo in photos]
    pixels = [pixels[index % len(pixels)] for index in range(batch)]
    stacked = torch.stack(pixels).to(dtype)

    def ours() -> None:
        captioner.caption(pixels)

    @torch.inference_mode()
    def theirs() -> Tensor:
        found: Tensor = peer.generate(pixel_values=stacked, generation_config=generation)
        return found

    name = str(dtype).removeprefix("torch.")
    times = []
    with Progress(f"{name}, {batch} photo(s) at once", ROUNDS, "round") as progress:
        for _ in range(ROUNDS):
            times.append((seconds(ours), seconds(theirs)))
            progress.advance()
    ratios = sorted(slow / fast for fast, slow in times)
    return Comparison(
        dtype=name,
        batch=batch,
        ours=1000 * median(fast for fast, _ in times) / batch,
        theirs=1000 * median(slow for _, slow in times) / batch,
        ratio=median(ratios),
        ratio_low=ratios[0],
        ratio_high=ratios[-1],
    )


def seconds(work: Callable[[], object]) -> float:
    """Run `work` for about `SECONDS`, after one run that does not count; the mean of one run."""
    work()
    runs, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < SECONDS:
        work()
        runs += 1
    return elapsed / runs
