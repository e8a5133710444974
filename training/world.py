"""One training run in several processes, as `torchrun` starts them; by hand it is one process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx


@dataclass(frozen=True)
class Processes:
    """One of `size` processes, and the device that it computes on."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and talks."""
        return self.rank == 0

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

    def tell(self, value: float) -> float:
        """Give every process the value that the first one has."""
        if self.size == 1:
            return value
        told = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(told, 0)
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
def join_processes() -> Iterator[Processes]:
    """Join the processes that torchrun started, with NCCL on GPUs and gloo elsewhere.

    Each process takes the GPU of its number on the machine; where there is none, the processor.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if size == 1:
        yield Processes(0, 1, device)
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), size, device)
    finally:
        dist.destroy_process_group()
