"""What caption training minimises."""

import torch.nn.functional as F
from torch import Tensor

from model.network import CaptionModel
from training.batches import PADDING, Batch


def caption_loss(model: CaptionModel, batch: Batch, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of the next token, in nats, over all positions that are no padding.

    Every photo is encoded once for all its captions, and only positions that count reach the
    output layer, the widest of the network. `smoothing` is label smoothing (Szegedy et al.,
    2016, section 7).
    """
    cross = model.decoder.cross_keys_values(model.encode(batch.pixels))
    hidden = model.decoder.hidden(batch.inputs, cross, None)  # (rows, T, C)
    counted = batch.targets != PADDING
    logits = model.decoder.logits(hidden[counted])  # (counted, V)
    return F.cross_entropy(logits.float(), batch.targets[counted], label_smoothing=smoothing)
