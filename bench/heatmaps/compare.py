"""Every method on the same scenes and words, beside random maps."""

import random
from collections.abc import Sequence
from statistics import mean

import torch
from torch import Tensor

from bench.heatmaps.scores import Scores, deletion_insertion, points_at, rank_correlation
from bench.heatmaps.shapes import Scene, draw_scene
from model.captioner import Captioner
from model.explain.explainer import Explainer
from model.explain.explanation import MEANINGS, Method
from model.explain.target import CaptionTarget
from model.image import to_tensor
from training.progress import Progress

RANDOM = "random"
"""The map of noise that each method has to beat."""


def drawn_scenes(number: int, seed: int) -> list[Scene]:
    """Draw scenes of two shapes."""
    chance = random.Random(seed)
    return [draw_scene(chance, shapes=2) for _ in range(number)]


def compare(captioner: Captioner, randomised: Captioner, scenes: Sequence[Scene]) -> dict[str, Scores]:
    """Score each method of `MEANINGS`, and random maps, on the true captions of scenes.

    `randomised` is the same network with new random weights.
    """
    names: list[Method | None] = [None, *MEANINGS]
    found: list[list[tuple[bool, float, float, float]]] = [[] for _ in names]
    torch.manual_seed(0)
    with Progress("explaining", len(scenes), "scene") as progress:
        for scene in scenes:
            photo = to_tensor(scene.picture, captioner.image_config)
            ids = captioner.tokenizer.encode(scene.caption)
            target = CaptionTarget(
                captioner.model, ids, [range(index, index + 1) for index in range(len(ids))]
            )
            for name, rows in zip(names, found, strict=True):
                if name is None:
                    grid = captioner.model.config.encoder.grid
                    maps, others = torch.rand(2, len(ids), grid, grid)
                else:
                    maps = maps_of(captioner, photo, scene.caption, name)
                    others = maps_of(randomised, photo, scene.caption, name)
                for word, box in scene.boxes.items():
                    pointing = points_at(maps[word], box, captioner.model.config.encoder.patch_size)
                    areas = deletion_insertion(target, word, photo, maps[word])
                    rows.append((pointing, *areas, rank_correlation(maps[word], others[word])))
            progress.advance()
    return {
        name or RANDOM: Scores(len(rows), *map(mean, zip(*rows, strict=True)))
        for name, rows in zip(names, found, strict=True)
    }


def maps_of(captioner: Captioner, photo: Tensor, caption: str, method: Method) -> Tensor:
    """Explain the words of a caption → (W, rows, columns)."""
    explainer = Explainer(captioner)
    explanation = explainer.explain(photo, explainer.given(photo, caption), method)
    return torch.stack([heatmap.values for heatmap in explanation.heatmaps])


def accuracy(captioner: Captioner, scenes: Sequence[Scene]) -> float:
    """Part of the scenes that the captioner describes rightly, word by word."""
    photos = [to_tensor(scene.picture, captioner.image_config) for scene in scenes]
    captions = captioner.caption(photos)
    return mean(found[0].text == scene.caption for found, scene in zip(captions, scenes, strict=True))
