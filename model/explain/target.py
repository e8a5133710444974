"""A caption's words as a function of the photo: what every method here explains."""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.network.caption_model import CaptionModel


class CaptionTarget:
    """The log-probabilities that a network gives to a fixed caption, by teacher forcing.

    The caption is `ids`, T tokens, and `words`, for each of W words the positions of its tokens.
    Merging is part of the function: the log-probability of a word is the sum of its tokens'.
    """

    def __init__(self, model: CaptionModel, ids: Sequence[int], words: Sequence[range] = ()) -> None:
        self.model = model
        weight = model.decoder.embedding.tokens.weight
        tokens = torch.tensor([model.config.decoder_start_token_id, *ids], device=weight.device)
        self.inputs, self.outputs = tokens[:-1], tokens[1:]  # (T,): each input predicts the output beside it
        self.dtype, self.device = weight.dtype, weight.device
        self.membership = torch.zeros(
            len(ids), len(words), device=weight.device
        )  # (T, W), 1 for a word's own
        for word, positions in enumerate(words):
            self.membership[list(positions), word] = 1

    def logits(self, pixels: Tensor) -> Tensor:
        """Normalised photos (B, 3, height, width) → logits (B, T, V) of the caption's tokens."""
        pixels = pixels.to(device=self.device, dtype=self.dtype)
        logits: Tensor = self.model(pixels, self.inputs.expand(len(pixels), -1))
        return logits

    def token_logprobs(self, pixels: Tensor) -> Tensor:
        """Normalised photos (B, 3, height, width) → float32 (B, T), natural logarithms."""
        logprobs = self.logits(pixels).float().log_softmax(dim=-1)  # (B, T, V)
        index = self.outputs.expand(len(pixels), -1)[:, :, None]
        return logprobs.gather(2, index)[:, :, 0]

    def word_logprobs(self, pixels: Tensor) -> Tensor:
        """Normalised photos (B, 3, height, width) → float32 (B, W), natural logarithms."""
        return self.token_logprobs(pixels) @ self.membership
