"""Integrated gradients: a word's log-probability, shared out over the photo's pixels.

Sundararajan, Taly and Yan (2017, section 3), by `captum.attr.IntegratedGradients`, on the straight
path from the grey photo (0 after normalisation), in Gauss-Legendre steps. As far as they are enough,
the map of a word adds up to its log-probability for the photo less that for the grey one (their
completeness axiom).
"""

import time

import torch
import torch.nn.functional as F
from torch import Tensor

from model.explain.bounds import GRADIENT_STEPS, ExplainBounds
from model.explain.target import CaptionTarget


def integrated_gradients(target: CaptionTarget, photo: Tensor, bounds: ExplainBounds) -> Tensor:
    """Explain words on a normalised photo (3, height, width) → float32 (W, rows, columns).

    A patch has the sum over its pixels and channels, in nats. W is the number of words, or less
    where `bounds.max_seconds` have gone by: at least the first word is explained.
    """
    from captum.attr import IntegratedGradients  # noqa: PLC0415  # as in `occlusion`

    patch = target.model.config.encoder.patch_size
    method = IntegratedGradients(target.word_logprobs)
    maps: list[Tensor] = []
    began = time.monotonic()
    for word in range(target.membership.shape[1]):
        if maps and time.monotonic() - began > bounds.max_seconds:
            break
        shares: Tensor = method.attribute(
            photo[None].to(target.device),
            baselines=0,
            target=word,
            n_steps=GRADIENT_STEPS,
            internal_batch_size=bounds.batch,
        )
        per_pixel = shares.sum(dim=1, keepdim=True)  # (1, 1, height, width)
        maps.append(F.avg_pool2d(per_pixel, patch)[0, 0] * patch**2)
    return torch.stack(maps).float()
