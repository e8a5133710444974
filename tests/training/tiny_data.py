"""A COCO-format folder of a few plain photos, a recipe for it, and a world of one process."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from training.world import World

ALONE = World(0, 1, torch.device("cpu"))

CAPTIONS = [
    "A red dog runs .",
    "Two green birds fly over water .",
    "A blue man sits on a chair .",
    "White snow covers the road .",
]


def options(given: Mapping[str, object]) -> list[str]:
    """Options of a command by their names."""
    return [part for name, value in given.items() for part in (f"--{name}", str(value))]


def write_data(folder: Path, captions: list[list[str]] | None = None) -> Path:
    """One photo of blocks per list of captions; by default four photos with one caption each."""
    captions = [[caption] for caption in CAPTIONS] if captions is None else captions
    (folder / "images").mkdir(parents=True)
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for index, group in enumerate(captions):
        blocks = np.random.default_rng(index).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        photo = Image.fromarray(blocks).resize((32, 32), Image.Resampling.NEAREST)
        photo.save(folder / "images" / f"{index}.png")
        images.append({"id": 10 + index, "file_name": f"{index}.png"})
        for caption in group:
            annotations.append({"id": len(annotations), "image_id": 10 + index, "caption": caption})
    for split in ("train", "dev"):
        content = {"images": images, "annotations": annotations}
        (folder / f"captions_{split}.json").write_text(json.dumps(content))
    return folder


RECIPE = """
encoder: {hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 64,
          image_size: 32, patch_size: 8}
decoder: {vocab_size: 320, n_positions: 40, n_embd: 32, n_layer: 2, n_head: 2, embd_pdrop: 0.0,
          resid_pdrop: 0.0, attn_pdrop: 0.0}
augmentation: {least_area: 1.0, aspect: 1.0, brightness: 0.0, contrast: 0.0}
search: {num_beams: 2, max_new_tokens: 40}
captions_per_photo: 1
max_tokens: 40
epochs: 60
batch_size: 4
optimizer: {muon_rate: 1.0e-2, adamw_rate: 1.0e-2, weight_decay: 0.0, gradient_norm: 1.0}
encoder_rate: 1.0
warmup_steps: 2
label_smoothing: 0.0
average_decay: 0.8
report_epochs: 60
seed: 3
"""
