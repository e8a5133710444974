"""Several processes at one run, as `torchrun` starts them; "world" is its word. By hand it is one process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from model.network.precision import best_dtype
from training.errors import RecipeError

LIMIT = timedelta(minutes=10)  # of a step's collectives: a process that hangs that long ends the run
WAITING = timedelta(days=3650)  # of those that wait for the first process, which may score for hours


@dataclass(frozen=True)
class World:
    """One of `size` processes, and the device that it computes on."""

    rank: int
    size: int
    device: torch.device
    waiting: dist.ProcessGroup | None = None
    """The group in which what the first process decides is awaited; None where it is alone."""

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files, scores and talks."""
        return self.rank == 0

    def autocast(self, precision: str | None = None) -> torch.autocast:
        """Products in `precision`, "bfloat16" or "float32"; None: in what the device is fastest with.

        Weights and optimizers are float32 everywhere. A processor that only emulates bfloat16 takes 12
        times as long with it.
        """
        dtype = best_dtype(self.device) if precision is None else getattr(torch, precision)
        return torch.autocast(self.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)

    def share(self, field: str, number: int, parts: int = 1) -> int:
        """Tell how many of a step's `number` examples are this process's.

        Raises RecipeError, which names the recipe's `field`, unless all get as many, and all of their parts.
        """
        if number % (self.size * parts):
            spread = f"{self.size} processes in {parts} parts each"
            raise RecipeError(f"{field}: {number} cannot be spread evenly over {spread}")
        return number // self.size

    def total(self, value: Tensor) -> Tensor:
        """Sum of the processes' values; no gradient flows through it."""
        value = value.detach().clone()
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def gather(self, rows: Tensor) -> Tensor:
        """Rows (N, …) of all processes in the order of their ranks, (size · N, …), with gradients."""
        if self.size == 1:
            return rows
        gathered: Tensor = _Gather.apply(rows, self.rank, self.size)  # type: ignore[no-untyped-call]
        return gathered

    def add_gradients(self, network: nn.Module) -> None:
        """Give every process the sum of the processes' gradients, in one message."""
        if self.size == 1:
            return
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        summed = self.total(nn.utils.parameters_to_vector(gradients))
        for gradient, part in zip(
            gradients, torch.split(summed, [one.numel() for one in gradients]), strict=True
        ):
            gradient.copy_(part.view_as(gradient))

    def tell(self, value: float) -> float:
        """Give every process the value that the first one has, however long the others wait for it."""
        if self.size == 1:
            return value
        told = torch.tensor(value, dtype=torch.float64)
        dist.broadcast(told, 0, group=self.waiting)
        return told.item()


class _Gather(torch.autograd.Function):
    """torch's own differentiable all_gather is deprecated, without one for gloo in its place."""

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, rank: int, size: int) -> Tensor:
        ctx.rank, ctx.size = rank, size  # type: ignore[attr-defined]
        parts = [torch.empty_like(rows) for _ in range(size)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient.chunk(ctx.size)[ctx.rank], None, None  # type: ignore[attr-defined]


@contextmanager
def join_world() -> Iterator[World]:
    """Join the processes that torchrun started, with NCCL on GPUs and gloo elsewhere.

    Each process takes the GPU of its number on the machine; where there is none, the processor.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if size == 1:
        yield World(0, 1, device)
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=LIMIT)
    try:
        waiting = dist.new_group(backend="gloo", timeout=WAITING)
        yield World(dist.get_rank(), size, device, waiting)
    finally:
        dist.destroy_process_group()
