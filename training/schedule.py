"""The learning rate over a run."""

import math
from collections.abc import Iterable

from torch.optim import Optimizer


def warmup_cosine(step: int, steps: int, warmup: int) -> float:
    """Factor on the learning rate: linear up to 1, then half a cosine down to 0.

    Loshchilov and Hutter, "SGDR", 2017, equation 5, with one cycle. `step` counts from 0.
    """
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def set_learning_rate(optimizers: Iterable[Optimizer], factor: float) -> None:
    """Set every parameter group to its `peak` rate times `factor`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
