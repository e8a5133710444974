"""Train a captioner on photos with captions. `python -m training.train --help`.

data folder → captions → vocabulary → photos → network → steps → checkpoint
"""

import argparse
import logging
import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from model.errors import CaptionerError
from training.captions import caption_file, normalise, read_captions
from training.errors import TrainingError
from training.recipe import read_recipe
from training.trainer import Split, Trainer, TrainRecipe
from training.vocabulary import learn_vocabulary

logger = logging.getLogger("training.train")

SNAPSHOT_SECONDS = 180  # at most this much work is lost when a run is killed


def train(data: Path, recipe: TrainRecipe, out: Path, cache: Path, encoder: Path | None = None) -> None:
    """Train on a data folder; ends with `out/checkpoint`, and resumes what was begun in `out`."""
    captions = read_captions(data, "train")
    vocabulary = learn_vocabulary(
        (normalise(caption) for group in captions.captions for caption in group), recipe.decoder.vocab_size
    )
    size = recipe.encoder.image_size
    trainer = Trainer(recipe, vocabulary, Split.of(captions, vocabulary, size, cache))
    dev = None
    if caption_file(data, "dev").exists():
        dev = Split.of(read_captions(data, "dev"), vocabulary, size, cache)
    snapshot = out / "snapshot.safetensors"
    start = 0
    if snapshot.exists():
        start = trainer.resume(snapshot)
        logger.info("resuming after step %d of %d", start, trainer.steps)
    elif encoder is not None:
        trainer.load_encoder(encoder)
    run(trainer, start, dev, out)


def run(trainer: Trainer, start: int, dev: Split | None, out: Path) -> None:
    """Do all steps from `start` on, with progress, dev losses, snapshots and checkpoints."""
    saved = time.monotonic()
    losses: list[float] = []
    with tqdm(total=trainer.steps, initial=start, desc="training", unit="step", disable=None) as bar:
        for step in range(start, trainer.steps):
            losses.append(trainer.step(step))
            bar.update()
            bar.set_postfix(loss=f"{losses[-1]:.3f}")
            epoch, position = divmod(step + 1, trainer.steps_per_epoch)
            if position == 0:
                logger.info("epoch %d of %d: loss %.4f", epoch, trainer.recipe.epochs, np.mean(losses))
                losses = []
                if epoch % trainer.recipe.report_epochs == 0 or step + 1 == trainer.steps:
                    if dev is not None:
                        logger.info("epoch %d: dev loss %.4f", epoch, trainer.loss_on(dev))
                    trainer.save_checkpoint(out / "checkpoint")
            if time.monotonic() - saved > SNAPSHOT_SECONDS or step + 1 == trainer.steps:
                trainer.save(out / "snapshot.safetensors", step + 1)
                saved = time.monotonic()


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train a captioner on a COCO-format folder.")
    parser.add_argument("--data", type=Path, required=True, help="folder of captions_train.json and images/")
    parser.add_argument("--recipe", type=Path, default=Path("training/recipes/small.yaml"))
    parser.add_argument("--encoder", type=Path, help="pretrained encoder, from training.distill")
    parser.add_argument("--out", type=Path, default=Path("runs/train"), help="for snapshot and checkpoint")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="folder for decoded photos")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        train(given.data, read_recipe(given.recipe, TrainRecipe), given.out, given.cache, given.encoder)
    except (TrainingError, CaptionerError) as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
