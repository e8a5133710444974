"""Photos that want different things, captioned together as far as that goes.

Photos go through the encoder at once. Decoding is by groups that have options and prompt in
common. A photo gets what it would have got alone.

A sample with a seed goes through the whole network by itself: rounding depends on the size of a
batch, and in bfloat16 that was enough to draw another token in every third caption.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.captioner import Caption, Captioner
from model.options import GenerationOptions


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted of one preprocessed photo (3, height, width)."""

    photo: Tensor
    options: GenerationOptions
    prompt: str = ""

    @property
    def alone(self) -> bool:
        """Whether its company in a batch could be seen in its caption."""
        return self.options.do_sample and self.options.seed is not None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A photo's captions, best first, and how long they took in ms.

    `encode` is the time of all photos that were encoded together, `generate` that of the
    photo's group.
    """

    captions: tuple[Caption, ...]
    encode: float
    generate: float


def caption_batch(captioner: Captioner, orders: Sequence[Order]) -> list[Delivery | Exception]:
    """Caption each photo as its order says; an error stands for those that it concerns.

    An error while decoding concerns one group, while encoding all that were encoded together.
    """
    delivered: dict[int, Delivery | Exception] = {}
    together = [index for index, order in enumerate(orders) if not order.alone]
    apart = [[index] for index, order in enumerate(orders) if order.alone]
    for members in [together, *apart]:
        found = caption_encoded_together(captioner, [orders[index] for index in members])
        delivered |= dict(zip(members, found, strict=True))
    return [delivered[index] for index in range(len(orders))]


def caption_encoded_together(captioner: Captioner, orders: Sequence[Order]) -> list[Delivery | Exception]:
    """Encode all photos at once and decode them group by group."""
    if not orders:
        return []
    began = time.perf_counter()
    try:
        image_tokens = captioner.encode([order.photo for order in orders])  # (B, S, C)
    except Exception as error:
        return [error] * len(orders)
    encode = milliseconds(began)
    groups: dict[tuple[GenerationOptions, str], list[int]] = defaultdict(list)
    for index, order in enumerate(orders):
        groups[order.options, order.prompt].append(index)
    results: dict[int, Delivery | Exception] = {}
    for (options, prompt), members in groups.items():
        began = time.perf_counter()
        try:
            found = captioner.generate(image_tokens[torch.tensor(members)], options, prompt)
        except Exception as error:
            results |= dict.fromkeys(members, error)
            continue
        generate = milliseconds(began)
        results |= {
            index: Delivery(captions, encode, generate)
            for index, captions in zip(members, found, strict=True)
        }
    return [results[index] for index in range(len(orders))]


def milliseconds(since: float) -> float:
    """Return the time since a reading of `time.perf_counter`."""
    return 1000 * (time.perf_counter() - since)
