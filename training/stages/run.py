"""All steps of a run, with its progress bar, reports, snapshots, and the checkpoint that it ends with."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from training.board import Board
from training.evaluation.dev import DevScores
from training.journal import Journal
from training.progress import Progress
from training.stages.trainer import Split, StepLosses, Trainer

logger = logging.getLogger("training.stages.run")

SAMPLES = 8  # dev photos whose captions are shown
CURVE_STEPS = 10  # between two points of the training curves


@dataclass(frozen=True)
class Dev:
    """The dev split: tokenised for the loss, with references for the scores."""

    split: Split
    scores: DevScores


class Run:
    """A trainer at work in a folder: `snapshot.safetensors`, `history.jsonl`, `checkpoint/`, `events/`.

    The first process alone writes and scores; the others wait for what it decides.
    """

    def __init__(
        self, trainer: Trainer, dev: Dev | None, out: Path, identity: str, save_seconds: float
    ) -> None:
        self.trainer = trainer
        self.dev = dev
        self.out = out
        self.identity = identity  # recipe and data: a snapshot of others is refused
        self.save_seconds = save_seconds  # at most this much work is lost when a run is killed
        self.snapshot = out / "snapshot.safetensors"

    def go(self) -> None:
        """Do all steps that are left."""
        trainer, processes = self.trainer, self.trainer.processes
        start = 0
        if self.snapshot.exists():
            start = trainer.resume(self.snapshot, self.identity)
            logger.info("resuming after step %d of %d", start, trainer.steps)
        journal = Journal.until(self.out / "history.jsonl", start)
        board = Board(self.out / "events", start) if processes.first else None
        try:
            if not journal.exhausted(trainer.recipe.patience):
                self._steps(start, journal, board)
        finally:
            if board is not None:
                board.close()

    def _steps(self, start: int, journal: Journal, board: Board | None) -> None:
        trainer, processes = self.trainer, self.trainer.processes
        saved = time.monotonic()
        losses: list[StepLosses] = []
        shown = processes.first
        with Progress("training", trainer.steps, "step", done=start, shown=shown) as progress:
            for step in range(start, trainer.steps):
                losses.append(trainer.step(step))
                factor = trainer.rate_factor(step)
                progress.advance(loss=losses[-1].caption, rate=factor)
                if board is not None and (step + 1) % CURVE_STEPS == 0:
                    board.rate(factor, step + 1)
                    board.scalars(self._mean(losses[-CURVE_STEPS:]), step + 1)
                ended = step + 1 == trainer.steps
                epoch, position = divmod(step + 1, trainer.steps_per_epoch)
                reported = position == 0 and (epoch % trainer.recipe.report_epochs == 0 or ended)
                stop = False
                if reported:
                    if board is not None:
                        self._report(step + 1, self._mean(losses), journal, board)
                    losses = []
                    stop = bool(processes.tell(journal.exhausted(trainer.recipe.patience)))
                late = processes.first and time.monotonic() - saved > self.save_seconds
                if processes.first and (late or reported or ended):
                    trainer.save(self.snapshot, step + 1, self.identity)
                    saved = time.monotonic()
                if stop:
                    logger.info("stopping: dev CIDEr did not rise for %d epochs", trainer.recipe.patience)
                    break

    def _report(self, step: int, means: dict[str, float], journal: Journal, board: Board) -> None:
        """Measure, write the report, and the checkpoint where it is the best one so far."""
        trainer, dev = self.trainer, self.dev
        report = {"step": step, "epoch": step // trainer.steps_per_epoch, **means}
        if dev is not None:
            made = dev.scores.caption(trainer.averaged_checkpoint(), trainer.processes.device)
            report |= {"dev_loss": trainer.loss_on(dev.split), **dev.scores.score(made)}
            board.samples(dev.split.photos[:SAMPLES], made[:SAMPLES], step)
            board.scalars({name: report[name] for name in ("dev_loss", "cider", "bleu4")}, step)
        board.flush()
        shown = ", ".join(f"{name} {value:.4f}" for name, value in report.items() if isinstance(value, float))
        logger.info("epoch %d of %d: %s", report["epoch"], trainer.recipe.epochs, shown)
        if journal.is_better(report):
            trainer.save_checkpoint(self.out / "checkpoint")
        journal.add(report)

    def _mean(self, losses: list[StepLosses]) -> dict[str, float]:
        means = {"loss": sum(loss.caption for loss in losses) / len(losses)}
        if self.trainer.recipe.contrast is not None:
            means["contrast"] = sum(loss.contrast for loss in losses) / len(losses)
        return means
