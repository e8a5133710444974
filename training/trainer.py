"""One run of caption training: its numbers, its data, its networks and what a step does to them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer as Vocabulary
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from model.checkpoint import Checkpoint, save_checkpoint
from model.config import GPT2Config, ModelConfig, VisionConfig
from model.image import ImageConfig
from model.network import CaptionModel
from model.options import BeamOptions
from model.tokenizer import Tokenizer
from training.batches import Augmentation, Batch, Rng, TokenisedCaptions, training_batch
from training.captions import CaptionSet
from training.errors import DataError
from training.initialise import initialise
from training.objective import caption_loss
from training.optimizers import OptimizerRecipe, make_optimizers
from training.photos import Photos, load_photos
from training.schedule import set_learning_rate, warmup_cosine
from training.snapshot import load_snapshot, save_snapshot
from training.vocabulary import end_token

UNCHANGED = Augmentation(least_area=1, aspect=1, brightness=0, contrast=0)


@dataclass(frozen=True)
class TrainRecipe:
    """Numbers of a caption training run."""

    encoder: VisionConfig
    decoder: GPT2Config  # its vocab_size is how many tokens to learn, at most
    augmentation: Augmentation
    search: BeamOptions  # defaults that are saved with the weights
    captions_per_photo: int
    max_tokens: int  # longer captions are cut
    epochs: int
    batch_size: int  # photos
    optimizer: OptimizerRecipe
    encoder_rate: float  # factor on the encoder's learning rates
    warmup_steps: int
    label_smoothing: float
    average_decay: float  # of the exponential moving average of the weights, per step
    report_epochs: int  # epochs between dev losses, each with a checkpoint
    seed: int

    def __post_init__(self) -> None:
        if self.max_tokens > self.decoder.n_positions:
            raise ValueError(f"max_tokens: more than the decoder's {self.decoder.n_positions} positions")
        for name in ("captions_per_photo", "max_tokens", "epochs", "batch_size", "report_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: at least 1 is needed")


@dataclass(frozen=True)
class Split:
    """Photos and their tokenised captions, index by index."""

    photos: Photos
    captions: TokenisedCaptions

    @classmethod
    def of(cls, captions: CaptionSet, vocabulary: Vocabulary, size: int, cache: Path) -> "Split":
        """Decode the photos of a caption set and tokenise its captions."""
        photos = load_photos(captions.images, captions.names, size, cache)
        return cls(photos, TokenisedCaptions.of(captions, vocabulary))


class Trainer:
    """Network, averaged network, optimizer and data of one run; steps are counted from 0.

    A step's batch and dropout depend on the seed and the step alone, so a resumed run repeats
    what an uninterrupted one does.
    """

    def __init__(self, recipe: TrainRecipe, vocabulary: Vocabulary, split: Split) -> None:
        if len(split.photos) < recipe.batch_size:
            raise DataError(f"{len(split.photos)} photos are fewer than batch_size, {recipe.batch_size}")
        self.recipe = recipe
        self.vocabulary = vocabulary
        self.split = split
        self.steps_per_epoch = len(split.photos) // recipe.batch_size
        self.steps = recipe.epochs * self.steps_per_epoch
        end = end_token(vocabulary)
        decoder = replace(recipe.decoder, vocab_size=vocabulary.get_vocab_size())
        torch.manual_seed(recipe.seed)
        self.model = CaptionModel(ModelConfig(recipe.encoder, decoder, end, (end,), end))
        initialise(self.model)
        averaging = get_ema_multi_avg_fn(recipe.average_decay)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(self.model, multi_avg_fn=averaging)
        parts: list[tuple[nn.Module, float]] = [(self.model.encoder, recipe.encoder_rate)]
        parts += [(part, 1.0) for part in (self.model.projection, self.model.decoder) if part is not None]
        self.optimizers = make_optimizers(parts, recipe.optimizer)

    def load_encoder(self, path: Path) -> None:
        """Start from a pretrained encoder; raises DataError when it is another network's."""
        try:
            self.model.encoder.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise DataError(f"encoder {path} cannot be used: {error}") from None

    def batch(self, step: int) -> Batch:
        """Draw the batch of one step; an epoch shows every photo once, but for an incomplete last batch."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng((self.recipe.seed, 0, epoch)).permutation(len(self.split.photos))
        chosen = order[position * self.recipe.batch_size :][: self.recipe.batch_size]
        rng = np.random.default_rng((self.recipe.seed, 1, step))
        return _batch(self.split, chosen, self.recipe, self.recipe.augmentation, rng)

    def step(self, step: int) -> float:
        """Do one step of training; returns its loss in nats a token, label smoothing included."""
        recipe = self.recipe
        factor = warmup_cosine(step, self.steps, recipe.warmup_steps)
        set_learning_rate(self.optimizers, factor)
        batch = self.batch(step)
        torch.manual_seed(recipe.seed + step)  # of dropout
        self.model.train()
        with torch.autocast("cpu", torch.bfloat16):
            loss = caption_loss(self.model, batch, recipe.label_smoothing)
        self.model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), recipe.optimizer.gradient_norm)
        for optimizer in self.optimizers:
            optimizer.step()
        self.average.update_parameters(self.model)
        return loss.item()

    @torch.no_grad()
    def loss_on(self, split: Split) -> float:
        """Loss of the averaged weights on unchanged photos, in nats a token, without smoothing."""
        model = self.averaged_model().eval()
        split = replace(split, captions=replace(split.captions, mirrored=(False,) * len(split.photos)))
        rng = np.random.default_rng(self.recipe.seed)
        losses = []
        for chosen in np.array_split(np.arange(len(split.photos)), -(-len(split.photos) // 100)):
            with torch.autocast("cpu", torch.bfloat16):
                batch = _batch(split, chosen, self.recipe, UNCHANGED, rng)
                losses.append(caption_loss(model, batch).item())
        return float(np.mean(losses))

    def save(self, path: Path, step: int) -> None:
        """Write what `resume` reads, after `step` finished steps."""
        save_snapshot(path, step, self._networks(), self.optimizers, repr(self.recipe))

    def resume(self, path: Path) -> int:
        """Load the state of an interrupted run; returns its number of finished steps."""
        return load_snapshot(path, self._networks(), self.optimizers, repr(self.recipe))

    def _networks(self) -> dict[str, nn.Module]:
        return {"model": self.model, "average": self.average}

    def averaged_model(self) -> CaptionModel:
        """Return the network with averaged weights, which is the one to use."""
        return cast(CaptionModel, self.average.module)

    def save_checkpoint(self, folder: Path) -> None:
        """Write the averaged weights as a checkpoint folder that the engine and transformers load."""
        size = self.recipe.encoder.image_size
        image = ImageConfig(size=(size, size))
        tokenizer = Tokenizer(self.vocabulary)
        save_checkpoint(folder, Checkpoint(self.averaged_model(), tokenizer, image, self.recipe.search))


def _batch(
    split: Split, chosen: npt.NDArray[np.intp], recipe: TrainRecipe, how: Augmentation, rng: Rng
) -> Batch:
    return training_batch(
        split.photos,
        split.captions,
        chosen.tolist(),
        captions_per_photo=recipe.captions_per_photo,
        most=recipe.max_tokens,
        how=how,
        rng=rng,
    )
