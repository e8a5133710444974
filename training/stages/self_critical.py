"""What self-critical sequence training minimises: drawn captions are made likelier that beat their rivals.

Rennie et al., "Self-Critical Sequence Training for Image Captioning", 2017. Their baseline is the
reward of the greedy caption; here a sample is compared with the other samples of its photo, which
varies less and needs no greedy search (Luo, "A Better Variant of Self-Critical Sequence Training", 2020).
"""

import torch.nn.functional as F
from torch import Tensor

from model.network.cache import CrossAttentionKV
from model.network.decoder import Decoder
from training.data.batches import PADDING
from training.data.captions import CaptionSet, normalise
from training.stages.rewards import END, CiderD, words
from training.stages.samples import inputs_of


def advantages(rewards: Tensor) -> Tensor:
    """(B, n) → (B, n): by how much a sample beats the mean of its photo's other samples."""
    number = rewards.shape[1]
    others = (rewards.sum(dim=1, keepdim=True) - rewards) / (number - 1)
    return rewards - others


def policy_loss(logprobs: Tensor, advantage: Tensor) -> Tensor:
    """REINFORCE (Williams, 1992): minus Σ advantage · log p, over tokens (N,) with that of their caption.

    Its gradient is on average minus that of the expected reward.
    """
    return -(logprobs * advantage).sum()


def token_logprobs(
    decoder: Decoder, cross: CrossAttentionKV, targets: Tensor, start: int
) -> tuple[Tensor, Tensor]:
    """Targets (R, T) → log-probability of each that is no padding (N,), and its row (N,)."""
    counted = targets != PADDING
    logits = decoder.head(decoder.hidden(inputs_of(targets, start), cross, None)[counted])
    return -F.cross_entropy(logits.float(), targets[counted], reduction="none"), counted.nonzero()[:, 0]


def reward_of(captions: CaptionSet) -> CiderD:
    """Make the reward of a split: its captions are the references, their ends count as words."""
    return CiderD([[[*words(normalise(text)), END] for text in group] for group in captions.captions])
