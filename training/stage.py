"""What a stage of training is: data, a network, and how the loss of a step comes about."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from training.data.photos import Photos


@dataclass(frozen=True)
class Plan:
    """The numbers of a stage's recipe that the loop needs, and those that its data make of them."""

    identity: str  # stage, recipe and data: a snapshot of others is refused
    seed: int
    steps: int
    steps_per_epoch: int
    warmup_steps: int
    gradient_norm: float  # gradients are scaled down to this length, all together
    report_epochs: int = 1  # between two reports
    patience: int | None = None  # epochs without a better dev CIDEr before the run stops; None: all epochs
    scores_start: bool = False  # whether the weights it starts from may stay the best

    def is_reported(self, done: int) -> bool:
        """Whether there is a report after `done` steps."""
        epochs, position = divmod(done, self.steps_per_epoch)
        return done == self.steps or (position == 0 and epochs % self.report_epochs == 0)


@dataclass(frozen=True)
class Part:
    """What one part of a step adds to it; the step's loss and figures are sums over parts and processes."""

    loss: Tensor  # scalar, to be made small
    figures: dict[str, Tensor]  # scalars by name, to be reported; the same names in every step


@dataclass(frozen=True)
class Measured:
    """How good the weights are on what they were not trained on."""

    scores: dict[str, float] = field(default_factory=dict)  # `cider` tells which weights are the best
    photos: Photos | None = None  # a few, to be shown with `captions`
    captions: Sequence[str] = ()


class Stage(Protocol):
    """A stage as the loop sees it; steps are counted from 0.

    What a step draws depends on the seed and its number alone: a resumed run repeats what an
    uninterrupted one does. Torch's own generator (dropout) is seeded by the loop, others by the stage.
    """

    @property
    def plan(self) -> Plan:
        """Numbers of the run."""

    @property
    def network(self) -> nn.Module:
        """All that is trained."""

    @property
    def average(self) -> AveragedModel | None:
        """Average of `network` over the steps, which the loop moves after each; None: the stage has none."""

    @property
    def optimizers(self) -> Sequence[Optimizer]:
        """What moves the weights, with a `peak` rate in each group."""

    def step(self, step: int) -> Iterator[Part]:
        """Compute this process's share of a step, part by part.

        The loop takes a part's gradient before the next one is computed, so that memory holds one.
        """

    def measure(self) -> Measured:
        """Score the weights as they are, which the first process alone does; its time has no limit."""

    def write(self, out: Path) -> None:
        """Write the weights as they are, in the form that is used further, into the run's folder."""
