"""Drawn scenes whose captions have known places: "a red ring above a blue square".

One or two shapes on noisy grey, the upper one named first. Colours and shapes are drawn
independently, so that every word for them has to be read off the picture.
"""

import random
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import tokenizers
from PIL import Image, ImageDraw
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from model.tokenizer import Tokenizer

SIDE = 96
"""Of a picture, in pixels."""
LEAST, MOST = 28, 40
"""Of a shape's box, in pixels."""
COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 170, 40),
    "blue": (30, 60, 220),
    "yellow": (235, 225, 40),
    "cyan": (40, 215, 225),
    "magenta": (220, 40, 210),
    "white": (250, 250, 250),
    "black": (10, 10, 10),
}
SHAPES = ("square", "ring", "cross", "triangle")
END = "<end>"

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels; the last two are outside."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture, its caption, and the box of each word that names something: position → box."""

    picture: Image.Image
    caption: str
    boxes: dict[int, Box]


def draw_scene(chance: random.Random, *, shapes: int | None = None) -> Scene:
    """Draw one; `shapes` is 1 or 2, None for either."""
    number = shapes or chance.choice((1, 2))
    noise = np.random.default_rng(chance.getrandbits(32)).normal(0, 10, (SIDE, SIDE, 3))
    picture = Image.fromarray((chance.uniform(110, 145) + noise).clip(0, 255).astype(np.uint8))
    boxes = _places(chance, number)
    named = [(chance.choice(list(COLOURS)), chance.choice(SHAPES)) for _ in boxes]
    pen = ImageDraw.Draw(picture)
    for box, (colour, shape) in zip(boxes, named, strict=True):
        _draw(pen, box, COLOURS[colour], shape)
    words = ["a", *named[0]]
    places = {1: boxes[0], 2: boxes[0]}
    if number == 2:
        words += ["above", "a", *named[1]]
        places |= {5: boxes[1], 6: boxes[1]}
    return Scene(picture, " ".join(words), places)


def _places(chance: random.Random, number: int) -> list[Box]:
    """Draw boxes, from above to below, each wholly above the next."""
    while True:
        boxes = []
        for _ in range(number):
            side = chance.randint(LEAST, MOST)
            left, top = chance.randint(0, SIDE - side), chance.randint(0, SIDE - side)
            boxes.append((left, top, left + side, top + side))
        boxes.sort(key=lambda box: box[1])
        if all(upper[3] < lower[1] for upper, lower in pairwise(boxes)):
            return boxes


def _draw(pen: ImageDraw.ImageDraw, box: Box, colour: tuple[int, int, int], shape: str) -> None:
    left, top, right, bottom = box[0], box[1], box[2] - 1, box[3] - 1
    third = (right - left) // 3
    if shape == "ring":
        pen.ellipse((left, top, right, bottom), outline=colour, width=third * 2 // 3)
    elif shape == "square":
        pen.rectangle((left, top, right, bottom), fill=colour)
    elif shape == "triangle":
        pen.polygon([(left, bottom), ((left + right) // 2, top), (right, bottom)], fill=colour)
    else:
        pen.rectangle((left + third, top, right - third, bottom), fill=colour)
        pen.rectangle((left, top + third, right, bottom - third), fill=colour)


def word_tokenizer() -> Tokenizer:
    """One token a word; id 0 starts and ends a caption."""
    words = [END, "a", "above", *COLOURS, *SHAPES]
    backend = tokenizers.Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, END))
    backend.pre_tokenizer = Whitespace()
    backend.add_special_tokens([END])
    return Tokenizer(backend)
