"""One checkpoint of several: the mean of their weights.

Those that were fine-tuned from the same weights lie in one basin, and their mean is often better than each
(Wortsman et al., "Model soups", 2022).
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from model.checkpoint.folder import load_checkpoint, save_checkpoint
from training.errors import DataError
from training.model_card import Ancestor, average_card
from training.stages.start import load_start

logger = logging.getLogger("training.conversion.average")


def average(checkpoints: Sequence[Path], out: Path) -> None:
    """Write the mean of at least two checkpoints, with tokenizer and options of the first, as `out`.

    Raises DataError for checkpoints of different dimensions or vocabularies, CheckpointError for one that
    cannot be used.
    """
    if len(checkpoints) < 2:
        raise DataError("at least two checkpoints are needed for a mean")
    if out.exists():
        raise DataError(f"{out} exists already")
    first = load_start(checkpoints[0], max_tokens=1)
    mean = {name: weight / len(checkpoints) for name, weight in first.model.state_dict().items()}
    for folder in checkpoints[1:]:
        other = load_checkpoint(folder, dtype=torch.float32)
        if other.model.config != first.model.config or other.image != first.image:
            raise DataError(f"{folder} has other dimensions than {checkpoints[0]}")
        if other.tokenizer.backend.get_vocab() != first.tokenizer.backend.get_vocab():
            raise DataError(f"{folder} has another vocabulary than {checkpoints[0]}")
        for name, weight in other.model.state_dict().items():
            mean[name] += weight / len(checkpoints)
    first.model.load_state_dict(mean)
    parts = [Ancestor.of("checkpoint", folder, folder) for folder in checkpoints]
    save_checkpoint(out, replace(first, card=average_card(out.resolve().name, parts)))
    logger.info("%s: the mean of %d checkpoints", out, len(checkpoints))
