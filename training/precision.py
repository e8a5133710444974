"""The number format of a stage's matrix products; weights and optimizers are float32 everywhere."""

import torch

from model.precision import best_dtype


def autocast(device: torch.device | str = "cpu", precision: str | None = None) -> torch.autocast:
    """Products in `precision`, "bfloat16" or "float32"; None: in what the device is fastest with.

    A processor that only emulates bfloat16 takes 12 times as long with it.
    """
    kind = torch.device(device).type
    dtype = best_dtype(device) if precision is None else getattr(torch, precision)
    return torch.autocast(kind, torch.bfloat16, enabled=dtype == torch.bfloat16)
