"""The loop that every stage runs in: steps, reports, snapshots, and the best weights.

snapshot → steps: parts → gradients of all processes → clipped → weights → report → best weights, snapshot
"""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from training.board import Board
from training.errors import RecipeError
from training.journal import FILE, Journal
from training.optimizers import set_learning_rate, warmup_cosine
from training.progress import Progress
from training.snapshot import load_snapshot, save_snapshot
from training.stage import Stage
from training.world import World

logger = logging.getLogger("training.loop")

SAVE_SECONDS = 180.0
CURVE_STEPS = 10  # between two points of the training curves

Figures = Mapping[str, float]
"""Numbers of a step over all processes, before the weights moved: losses, rewards, lengths."""


@dataclass(frozen=True)
class Loop:
    """A stage at work in a folder: `snapshot.safetensors`, `history.jsonl`, `events/`, and what it writes.

    The first process alone writes and scores. The others wait for what it decides before each step, in
    a group without a limit, so that no report can be too long for them.
    """

    stage: Stage
    world: World
    out: Path
    save_seconds: float = SAVE_SECONDS  # at most this much work is lost when a run is killed

    def run(self) -> None:
        """Do all steps that are left."""
        plan, first = self.stage.plan, self.world.first
        done = self.resume()
        journal = Journal.until(self.out / FILE, done)
        with (
            Board(self.out / "events", done, shown=first) as board,
            Progress("training", plan.steps, "step", done=done, shown=first) as progress,
        ):
            if plan.scores_start and not journal.reports and first:
                self._report(0, {}, journal, board)
            saved = time.monotonic()
            since: list[Figures] = []  # the report before
            while not self._is_over(done, journal):
                rate = self.rate(done)
                since.append(self.step(done))
                done += 1
                progress.advance(**since[-1], rate=rate)
                if done % CURVE_STEPS == 0:
                    board.scalars("train", {**means(since[-CURVE_STEPS:]), "rate": rate}, done)
                reported = plan.is_reported(done)
                if reported and first:
                    self._report(done, means(since), journal, board)
                if reported:
                    since = []
                if first and (reported or time.monotonic() - saved > self.save_seconds):
                    self.save(done)
                    saved = time.monotonic()

    def step(self, step: int) -> Figures:
        """Do one step; raises RecipeError, which names it, where a loss is no number any more."""
        stage, plan, world = self.stage, self.stage.plan, self.world
        set_learning_rate(stage.optimizers, self.rate(step))
        seeds = np.random.SeedSequence((plan.seed, 2, step, world.rank)).generate_state(1)
        torch.manual_seed(int(seeds[0]))  # of dropout
        stage.network.zero_grad()
        loss: Tensor | float = 0.0
        sums: dict[str, Tensor] = {}
        for part in stage.step(step):
            part.loss.backward()  # type: ignore[no-untyped-call]
            loss = loss + part.loss.detach()
            for name, value in part.figures.items():
                sums[name] = sums[name] + value.detach() if name in sums else value.detach()
        numbers = torch.stack([torch.as_tensor(value).double() for value in (loss, *sums.values())])
        total, *found = world.total(numbers).tolist()
        if not all(map(math.isfinite, (total, *found))):
            raise RecipeError(
                f"optimizer: no finite loss at step {step + 1}: lower learning rates are needed"
            )
        world.add_gradients(stage.network)
        nn.utils.clip_grad_norm_(stage.network.parameters(), plan.gradient_norm)
        for optimizer in stage.optimizers:
            optimizer.step()
        if stage.average is not None:
            stage.average.update_parameters(stage.network)
        return dict(zip(sums, found, strict=True))

    def rate(self, step: int) -> float:
        """Share of the peak learning rates that a step has."""
        return warmup_cosine(step, self.stage.plan.steps, self.stage.plan.warmup_steps)

    def save(self, done: int) -> None:
        """Write what `resume` reads, after `done` steps; raises SnapshotError where the disk is full."""
        save_snapshot(self._snapshot, done, self._networks(), self.stage.optimizers, self.stage.plan.identity)

    def resume(self) -> int:
        """Load the state of an interrupted run, where there is one; returns its number of finished steps.

        Raises SnapshotError for that of another stage, recipe or data.
        """
        if not self._snapshot.exists():
            return 0
        plan = self.stage.plan
        done = load_snapshot(self._snapshot, self._networks(), self.stage.optimizers, plan.identity)
        logger.info("resuming after step %d of %d", done, plan.steps)
        return done

    @property
    def _snapshot(self) -> Path:
        return self.out / "snapshot.safetensors"

    def _networks(self) -> dict[str, nn.Module]:
        networks = {"network": self.stage.network}
        return networks if self.stage.average is None else {**networks, "average": self.stage.average}

    def _is_over(self, done: int, journal: Journal) -> bool:
        """Whether all steps are done or patience is at its end, as the first process sees it.

        It comes here when it has reported and saved; that is what the other processes wait for.
        """
        plan = self.stage.plan
        exhausted = journal.exhausted(plan.patience)
        over = bool(self.world.tell(done == plan.steps or exhausted))
        if over and exhausted and self.world.first:
            logger.info("stopping: dev CIDEr did not rise for %d epochs", plan.patience)
        return over

    def _report(self, done: int, figures: Figures, journal: Journal, board: Board) -> None:
        """Measure, write the report, and the weights where they are the best so far."""
        plan = self.stage.plan
        epoch = done // plan.steps_per_epoch
        measured = self.stage.measure()
        values = {**figures, **measured.scores}
        board.scalars("dev", measured.scores, done)
        if measured.photos is not None:
            board.samples(measured.photos, measured.captions, done)
        board.flush()
        shown = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        logger.info("epoch %d of %d: %s", epoch, plan.steps // plan.steps_per_epoch, shown)
        report = {"step": done, "epoch": epoch, **values}
        if journal.is_better(report):
            self.stage.write(self.out)
        journal.add(report)


def means(figures: Sequence[Figures]) -> dict[str, float]:
    """Mean of each figure over several steps."""
    return {name: sum(each[name] for each in figures) / len(figures) for name in figures[0]}
