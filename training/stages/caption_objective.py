"""What caption training minimises."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network.caption_model import CaptionModel
from training.data.batches import PADDING, Batch
from training.stages.samples import by_length
from training.world import World


def summed_caption_loss(
    model: CaptionModel, image_tokens: Tensor, inputs: Tensor, targets: Tensor, smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy of the next token, in nats, summed over all positions that are no padding.

    Every photo is encoded once for all its captions, which go through the decoder from the shortest of each
    photo to the longest, so that little of it is padding. Only positions that count reach the output
    layer, the widest of the network. `smoothing` is label smoothing (Szegedy et al., 2016, section 7).
    """
    cross = model.decoder.cross_keys_values(image_tokens)
    hidden, wanted = [], []
    for rows, part in by_length(targets, len(targets) // len(image_tokens)):
        counted = part != PADDING
        hidden.append(model.decoder.hidden(inputs[rows, : part.shape[1]], cross, None)[counted])  # (N, C)
        wanted.append(part[counted])
    logits = model.decoder.head(torch.cat(hidden))  # (all that count, V)
    return F.cross_entropy(logits.float(), torch.cat(wanted), label_smoothing=smoothing, reduction="sum")


def caption_loss(model: CaptionModel, batch: Batch, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of the next token, in nats, over all positions that are no padding."""
    image_tokens = model.encode(batch.pixels)
    return summed_caption_loss(model, image_tokens, batch.inputs, batch.targets, smoothing) / batch.tokens


@dataclass(frozen=True)
class ContrastRecipe:
    """An image–text contrastive term beside the caption loss (Yu et al., "CoCa", 2022)."""

    weight: float  # of the term; the caption loss weighs 1
    width: int  # channels of the space in which photos and captions meet

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError("weight: a number above 0 is needed; without a contrastive term, leave it out")
        if self.width < 1:
            raise ValueError("width: at least 1 is needed")


class Contrast(nn.Module):
    """Symmetric InfoNCE between photos and captions (Radford et al., "CLIP", 2021, figure 3).

    A photo is its class token as the decoder reads it. A caption is the mean of the decoder's states over it,
    read without the photo, as a language model does: states that saw the photo would give the answer away
    (CoCa's decoder starts with layers that do not look at it, section 3.2). The temperature is learned.
    """

    def __init__(self, width: int, recipe: ContrastRecipe) -> None:
        """Compare image tokens and hidden states, both of `width` channels."""
        super().__init__()
        self.of_image = nn.Linear(width, recipe.width, bias=False)
        self.of_text = nn.Linear(width, recipe.width, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # CLIP's, section 2.5

    def forward(self, images: Tensor, texts: Tensor, world: World) -> Tensor:
        """Class tokens (B, C) and pooled captions (B · n, C) of this process → loss over all, a mean."""
        images = F.normalize(self.of_image(images).float(), dim=-1)
        texts = F.normalize(self.of_text(texts).float(), dim=-1)
        scale = self.log_scale.exp().clamp(max=100)
        return info_nce(scale * world.gather(images) @ world.gather(texts).T)


def info_nce(logits: Tensor) -> Tensor:
    """Mean of both directions for logits (B, B · n), where the n captions of a photo are side by side.

    A caption has to find its photo among B. A photo has to find each of its captions among those of
    other photos: its other captions are no wrong answers.
    """
    photos, captions = logits.shape
    owner = torch.arange(photos, device=logits.device).repeat_interleave(captions // photos)
    own = owner == torch.arange(photos, device=logits.device).unsqueeze(1)  # (B, B · n)
    others = logits.masked_fill(own, -torch.inf).logsumexp(1)  # (B,)
    right = logits.T.gather(1, owner.unsqueeze(1)).squeeze(1)  # (B · n,)
    image_to_text = F.softplus(others[owner] - right).mean()
    return (image_to_text + F.cross_entropy(logits.T, owner)) / 2


class Objective(nn.Module):
    """The network with what is only there to train it. `forward` is what a part of a step computes."""

    def __init__(
        self,
        model: CaptionModel,
        smoothing: float,
        contrast: ContrastRecipe | None = None,
        kept_patches: int | None = None,
        start_block: int = 0,
    ) -> None:
        """Compose; `start_block`: batches hold the maps that this block of the stem reads, no photos."""
        super().__init__()
        self.start_block = start_block
        self.model = model
        self.smoothing = smoothing
        self.kept_patches = kept_patches
        self.contrast: Contrast | None = None
        if contrast is not None:
            self.contrast = Contrast(model.decoder.embedding.tokens.embedding_dim, contrast)

    def forward(self, batch: Batch, world: World) -> tuple[Tensor, Tensor]:
        """Sum of the caption loss over a process's targets; the contrastive loss, 0 where there is none."""
        model = self.model
        image_tokens = model.encode(batch.pixels, self._draw_patches(batch.pixels), self.start_block)
        total = summed_caption_loss(model, image_tokens, batch.inputs, batch.targets, self.smoothing)
        if self.contrast is None:
            return total, total.new_zeros(())
        hidden = model.decoder.hidden(batch.inputs, None, None)
        counted = (batch.targets != PADDING).unsqueeze(-1)
        pooled = (hidden * counted).sum(1) / counted.sum(1)
        return total, self.contrast(image_tokens[:, 0], pooled, world)

    def _draw_patches(self, pixels: Tensor) -> Tensor | None:
        """Choose the patches (B, k) of each photo that the encoder sees; None: all of them."""
        if self.kept_patches is None or not self.training:
            return None
        encoder = self.model.config.encoder
        patches = encoder.grid**2
        if encoder.stem is None:  # photos may have another size than the config says
            patches = math.prod(side // encoder.patch_size for side in pixels.shape[2:])
        return torch.rand(len(pixels), patches, device=pixels.device).argsort(1)[:, : self.kept_patches]
