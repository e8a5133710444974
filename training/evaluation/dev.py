"""Captions and scores of the averaged weights on the dev split, in the middle of a run."""

import contextlib
import io
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import torch
from pycocoevalcap.bleu.bleu import Bleu

from model.captioner import Captioner
from model.checkpoint.folder import Checkpoint
from model.network.packed_layers import pack
from model.network.precision import best_dtype
from training.data.batches import unchanged
from training.data.captions import CaptionSet
from training.data.photos import Photos
from training.evaluation.metrics import CiderScore, cider
from training.stage import Measured

BATCH = 32  # photos that are captioned together
SAMPLES = 8  # photos whose captions are shown


class DevCaptions:
    """Photos and references of the dev split, ready to be captioned and scored again and again."""

    def __init__(self, captions: CaptionSet, photos: Photos) -> None:
        self.ids = captions.ids
        self.photos = photos
        self.references = CiderScore(dict(zip(captions.ids, captions.captions, strict=True)))

    def measure(self, checkpoint: Checkpoint, device: torch.device) -> Measured:
        """Caption every photo and score that: `cider` and `bleu4`, with the captions of a few photos."""
        made = self.caption(checkpoint, device)
        return Measured(self.score(made), self.photos[:SAMPLES], made[:SAMPLES])

    def caption(self, checkpoint: Checkpoint, device: torch.device) -> list[str]:
        """Caption every photo with the engine, as the checkpoint would once it is loaded there."""
        model = deepcopy(checkpoint.model).to(device=device, dtype=best_dtype(device)).eval()
        pack(model)
        captioner = Captioner(replace(checkpoint, model=model))
        made: list[str] = []
        for start in range(0, len(self.photos), BATCH):
            pixels = unchanged(self.photos[start : start + BATCH], checkpoint.image)
            made.extend(captions[0].text for captions in captioner.caption(list(pixels)))
        return made

    def score(self, made: Sequence[str]) -> dict[str, float]:
        """Score one caption a photo: `cider` and `bleu4`, by pycocoevalcap."""
        truth, words = self.references.truth, self.references.words(dict(zip(self.ids, made, strict=True)))
        with contextlib.redirect_stdout(io.StringIO()):  # the scorer prints
            bleu = Bleu(4).compute_score(truth, words)[0][-1]
        return {"cider": cider(truth, words)[0], "bleu4": float(bleu)}
