"""A small captioner of drawn scenes, trained from nothing in about two minutes."""

import math
import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from bench.heatmaps.shapes import SIDE, draw_scene, word_tokenizer
from model.captioner import Captioner
from model.checkpoint.folder import Checkpoint
from model.image import ImageConfig, to_tensor
from model.network.caption_model import CaptionModel
from model.network.config import GPT2Config, ModelConfig, VisionConfig
from model.search.options import GenerationOptions
from training.progress import Progress

PATCH = 12
"""Side of a patch in pixels: 8 × 8 of them."""
WIDTH = 64
LENGTH = 9
"""Tokens of the longest caption, end token included, and one to spare."""
SCENES = 12_800
"""Drawn once, seen again and again."""
BATCH = 32
MATRICES_RATE, OTHERS_RATE = 3e-3, 2e-3
"""Highest learning rates of Muon (Jordan et al., 2024), for the blocks' matrices, and of AdamW."""


def untrained(seed: int) -> Captioner:
    """Make a captioner of random weights (normal, 0.02 wide, as ViT and GPT-2 start)."""
    tokenizer = word_tokenizer()
    config = ModelConfig(
        encoder=VisionConfig(WIDTH, 4, 4, 3 * WIDTH, image_size=SIDE, patch_size=PATCH),
        decoder=GPT2Config(
            vocab_size=tokenizer.vocab_size,
            n_positions=LENGTH,
            n_embd=WIDTH,
            n_layer=2,
            n_head=4,
            embd_pdrop=0.0,
            resid_pdrop=0.0,
            attn_pdrop=0.0,
        ),
        decoder_start_token_id=0,
        eos_token_ids=(0,),
        pad_token_id=0,
    )
    torch.manual_seed(seed)
    model = CaptionModel(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.02)
    options = GenerationOptions(num_beams=1, max_new_tokens=LENGTH)
    image = ImageConfig(size=(SIDE, SIDE))
    return Captioner(Checkpoint(model.eval(), tokenizer, image, options))


def trained(steps: int, seed: int) -> Captioner:
    """Train one by teacher forcing, in `steps` batches."""
    captioner = untrained(seed)
    model = captioner.model.train()
    pixels, tokens, known = examples(captioner, SCENES, random.Random(seed))
    optimizers, schedules = optimizers_for(model, steps)
    order = torch.cat([torch.randperm(SCENES) for _ in range(steps * BATCH // SCENES + 1)])
    with Progress("training", steps, "step") as progress:
        for chosen in order[: steps * BATCH].view(steps, BATCH):
            logits = model(pixels[chosen], tokens[chosen, :-1])
            counted = known[chosen]
            loss = F.cross_entropy(logits[counted], tokens[chosen, 1:][counted])
            model.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer, schedule in zip(optimizers, schedules, strict=True):
                optimizer.step()
                schedule.step()
            progress.advance(loss=loss.item())
    model.eval()
    return captioner


def optimizers_for(model: CaptionModel, steps: int) -> tuple[list[Optimizer], list[LambdaLR]]:
    """Make optimizers, with rates that go up in a tenth of the steps, then down to 0 along a cosine."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (matrices if "blocks." in name and parameter.dim() == 2 else others).append(parameter)
    optimizers = [
        torch.optim.Muon(matrices, lr=MATRICES_RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=OTHERS_RATE, weight_decay=0.01),
    ]

    def factor(step: int) -> float:
        warm = steps / 10
        return step / warm if step < warm else (1 + math.cos(math.pi * (step - warm) / (steps - warm))) / 2

    return optimizers, [LambdaLR(optimizer, factor) for optimizer in optimizers]


def examples(captioner: Captioner, number: int, chance: random.Random) -> tuple[Tensor, Tensor, Tensor]:
    """Draw pixels (N, 3, height, width), tokens (N, T + 1) and which next tokens count (N, T)."""
    scenes = []
    with Progress("drawing", number, "scene") as progress:
        for _ in range(number):
            scenes.append(draw_scene(chance))
            progress.advance()
    pixels = torch.stack([to_tensor(scene.picture, captioner.image_config) for scene in scenes])
    tokens = torch.zeros(number, LENGTH + 1, dtype=torch.long)  # 0 starts, ends and fills
    known = torch.zeros(number, LENGTH, dtype=torch.bool)
    for row, scene in enumerate(scenes):
        ids = captioner.tokenizer.encode(scene.caption)
        tokens[row, 1 : 1 + len(ids)] = torch.tensor(ids)
        known[row, : len(ids) + 1] = True
    return pixels, tokens, known
