"""Optional last stage: train a captioner on CIDEr-D itself. `python -m training.scst --help`.

checkpoint, data folder → drawn captions → rewards → steps → checkpoint
"""

import argparse
import logging
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from model.config import GPT2Config
from training.batches import TokenisedCaptions
from training.captions import CaptionSet, normalise
from training.command import check_writable, ends_in_one_line
from training.data import load_data
from training.dev import DevScores
from training.errors import DataError, RecipeError
from training.journal import Journal
from training.model_card import Part, model_card
from training.progress import Progress
from training.recipe import read_recipe
from training.rewards import END, CiderD, words
from training.self_critical import ScstRecipe, SelfCritic, StepResult
from training.trainer import Split, with_views

logger = logging.getLogger("training.scst")

RECIPE = Path(__file__).parent / "recipes" / "scst-small.yaml"
SAVE_SECONDS = 180.0


@dataclass
class ScstRun:
    """A self-critic at work in a folder: `scst.safetensors`, `history.jsonl`, `checkpoint/`."""

    critic: SelfCritic
    dev: DevScores | None
    out: Path
    identity: str  # recipe, data and checkpoint: a snapshot of others is refused
    save_seconds: float  # at most this much work is lost when a run is killed

    def go(self) -> None:
        """Do all steps that are left; `checkpoint/` is the best on the dev split, the start among them."""
        critic, snapshot = self.critic, self.out / "scst.safetensors"
        start = critic.resume(snapshot, self.identity) if snapshot.exists() else 0
        journal = Journal.until(self.out / "history.jsonl", start)
        if not journal.reports:
            self._report(0, [], journal)
        saved = time.monotonic()
        results: list[StepResult] = []
        with Progress("scst", critic.steps, "step", done=start) as progress:
            for step in range(start, critic.steps):
                results.append(critic.step(step))
                progress.advance(reward=float(np.mean([result.reward for result in results[-20:]])))
                ended = step + 1 == critic.steps
                epoch, position = divmod(step + 1, critic.steps_per_epoch)
                reported = position == 0 and (epoch % critic.recipe.report_epochs == 0 or ended)
                if reported:
                    self._report(step + 1, results, journal)
                    results = []
                if reported or time.monotonic() - saved > self.save_seconds:
                    critic.save(snapshot, step + 1, self.identity)
                    saved = time.monotonic()

    def _report(self, step: int, results: list[StepResult], journal: Journal) -> None:
        """Measure, write the report, and the checkpoint where it is the best one so far."""
        critic = self.critic
        report: dict[str, float] = {"step": step, "epoch": step // critic.steps_per_epoch}
        if results:
            weighed = ("cross_entropy",) if critic.recipe.cross_entropy_weight else ()
            for name in ("reward", "length", *weighed):
                report[name] = float(np.mean([getattr(result, name) for result in results]))
        checkpoint = critic.averaged_checkpoint()
        if self.dev is not None:
            report |= self.dev.score(self.dev.caption(checkpoint, torch.device("cpu")))
        shown = ", ".join(f"{name} {value:.4f}" for name, value in report.items() if isinstance(value, float))
        logger.info("epoch %d of %d: %s", report["epoch"], critic.recipe.epochs, shown)
        if journal.is_better(report):
            save_checkpoint(self.out / "checkpoint", checkpoint)
        journal.add(report)


def scst(
    init: Path,
    data: Path,
    recipe: ScstRecipe,
    *,
    out: Path,
    cache: Path,
    save_seconds: float = SAVE_SECONDS,
) -> None:
    """Train the captioner in `init` further; resumes what was begun in `out`."""
    start = read_start(init, recipe)
    check_writable(out)
    found = load_data(data, start.image, cache)
    parts = [Part.of("checkpoint", init, init)]
    start = replace(start, card=model_card(out.resolve().name, parts, data, found, recipe))
    captions, photos = found.train
    config = start.model.config
    ids = (config.decoder_start_token_id, config.eos_token_ids[0])
    split = Split(photos, TokenisedCaptions.of(captions, start.tokenizer, *ids))
    if recipe.views is not None:
        split = with_views(split, start, recipe.views, recipe.augmentation, seed=recipe.seed, cache=cache)
    critic = SelfCritic(recipe, start, split, reward_of(captions))
    if found.dev is None:
        logger.info("%s has no split 'dev': nothing is scored, and the last weights are kept", data)
    dev = None if found.dev is None else DevScores(*found.dev)
    identity = f"{recipe!r} {captions.digest()} {init}"
    ScstRun(critic, dev, out, identity, save_seconds).go()


def read_start(folder: Path, recipe: ScstRecipe) -> Checkpoint:
    """Load the checkpoint to go on from; raises DataError or RecipeError where that cannot be done."""
    start = load_checkpoint(folder, dtype=torch.float32)
    decoder = start.model.config.decoder
    if not isinstance(decoder, GPT2Config):
        raise DataError(f"{folder} cannot be trained: only checkpoints of a ViT and a GPT-2 can be written")
    if start.image.size[0] != start.image.size[1]:
        raise DataError(f"{folder} cannot be trained: its photos are {start.image.size}, not square")
    if recipe.max_tokens > decoder.n_positions:
        raise RecipeError(f"max_tokens: more than the {decoder.n_positions} positions of {folder}")
    return start


def reward_of(captions: CaptionSet) -> CiderD:
    """Make the reward of a split: its captions are the references, their ends count as words."""
    return CiderD([[[*words(normalise(text)), END] for text in group] for group in captions.captions])


@ends_in_one_line
def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Self-critical sequence training of a checkpoint.")
    parser.add_argument("--init", type=Path, required=True, help="checkpoint folder to start from")
    parser.add_argument("--data", type=Path, required=True, help="folder of captions and images/")
    parser.add_argument("--config", type=Path, default=RECIPE, help="recipe")
    parser.add_argument("--out", type=Path, default=Path("runs/scst"), help="for snapshot and checkpoint")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="folder for decoded photos")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = read_recipe(given.config, ScstRecipe)
    scst(given.init, given.data, recipe, out=given.out, cache=given.cache)
    return 0


if __name__ == "__main__":
    sys.exit(main())
