"""Stage 1: pretrain the ViT on soft labels of photos and on labelled images.

`python -m training.pretrain --help`.
"""

import argparse
import logging
import sys
import time
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import save_file

from training.command import check_writable, ends_in_one_line
from training.labelled_images import LabelledImages, read_labelled_images
from training.photos import load_photos
from training.pretrainer import Pretrainer, PretrainRecipe
from training.progress import Progress
from training.recipe import read_recipe
from training.snapshot import load_snapshot, save_snapshot
from training.soft_labels import PHOTO_SIZE, read_soft_labels

logger = logging.getLogger("training.pretrain")

SNAPSHOT_SECONDS = 180  # at most this much work is lost when a run is killed
LOGGED_STEPS = 50


def pretrain(trainer: Pretrainer, checked: LabelledImages, out: Path) -> None:
    """Train, resuming from a snapshot in `out` if there is one; ends with `out/encoder.safetensors`."""
    recipe = trainer.recipe
    check_writable(out)
    snapshot, networks = out / "pretrain.safetensors", {"network": trainer.network}
    start = 0
    if snapshot.exists():
        start = load_snapshot(snapshot, networks, trainer.optimizers, repr(recipe))
        logger.info("resuming after step %d of %d", start, recipe.steps)
    saved = time.monotonic()
    with Progress("pretraining", recipe.steps, "step", done=start) as progress:
        for step in range(start, recipe.steps):
            losses = asdict(trainer.step(step))
            progress.advance(**losses)
            if (step + 1) % LOGGED_STEPS == 0:
                shown = ", ".join(f"{name} loss {loss:.3f}" for name, loss in losses.items())
                logger.info("step %d: %s", step + 1, shown)
            if time.monotonic() - saved > SNAPSHOT_SECONDS or step + 1 == recipe.steps:
                save_snapshot(snapshot, step + 1, networks, trainer.optimizers, repr(recipe))
                shares = asdict(trainer.measure(checked))
                shown = ", ".join(f"{100 * share:.1f} %% of {name}" for name, share in shares.items())
                logger.info("step %d: right on " + shown, step + 1)
                saved = time.monotonic()
    save_file(trainer.network.encoder.state_dict(), out / "encoder.aside")
    (out / "encoder.aside").replace(out / "encoder.safetensors")


@ends_in_one_line
def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Pretrain the ViT on soft labels and labelled images.")
    parser.add_argument("--labels", type=Path, required=True, help="Parquet file of the photos' soft labels")
    parser.add_argument("--photos", type=Path, required=True, help="folder of the photos")
    parser.add_argument(
        "--labelled", type=Path, required=True, help="folder of classes.json, train*.parquet, val*.parquet"
    )
    parser.add_argument(
        "--recipe", type=Path, default=Path(__file__).parent / "recipes" / "pretrain-small.yaml"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for snapshot and encoder")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="folder for decoded images")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = read_recipe(given.recipe, PretrainRecipe)
    labels = read_soft_labels(given.labels)
    photos = load_photos(given.photos, labels.names, PHOTO_SIZE, given.cache)
    images = read_labelled_images(given.labelled, "train", given.cache)
    checked = read_labelled_images(given.labelled, "val", given.cache)
    pretrain(Pretrainer(recipe, photos, labels, images), checked, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
