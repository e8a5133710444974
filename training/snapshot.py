"""The state of a training run on disk: written aside and renamed, read without pickle.

Randomness is no part of it: every step draws from a generator seeded with the run's seed and the
step's number, so that the step is all a resumed run needs to know.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from training.errors import SnapshotError

Modules = Mapping[str, nn.Module]


def save_snapshot(
    path: Path, step: int, modules: Modules, optimizers: Sequence[Optimizer], identity: str
) -> None:
    """Write networks, optimizers' moments and the number of finished steps to `path`.

    `identity` is text that must be equal when the run resumes. Raises SnapshotError where the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".aside")
    tensors = _tensors(modules, optimizers)
    try:
        save_file(tensors, aside, {"step": str(step), "identity": identity})
    except SafetensorError as error:
        aside.unlink(missing_ok=True)
        raise SnapshotError(f"{path} cannot be written: {error}") from None
    aside.replace(path)


def load_snapshot(path: Path, modules: Modules, optimizers: Sequence[Optimizer], identity: str) -> int:
    """Copy a snapshot into networks and optimizers; returns the number of finished steps.

    Raises SnapshotError when the file belongs to another recipe or another network.
    """
    _create_moments(optimizers)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("identity") != identity:
                raise SnapshotError(
                    f"{path} was written by a run with another recipe or other data, or by an older version: "
                    "remove it to start anew"
                )
            for name, tensor in _tensors(modules, optimizers).items():
                tensor.copy_(file.get_tensor(name))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise SnapshotError(f"{path} cannot be resumed from: {error}") from None
    return int(metadata["step"])


def _create_moments(optimizers: Sequence[Optimizer]) -> None:
    """Make optimizers allocate their state, which they do in their first step.

    That step moves the parameters by weight decay, but they are overwritten with the state.
    """
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad()


def _tensors(modules: Modules, optimizers: Sequence[Optimizer]) -> dict[str, Tensor]:
    """Every tensor of the run under a name of its own; tied parameters appear once."""
    named: dict[str, Tensor] = {}
    for prefix, module in modules.items():
        named |= {f"{prefix}.{name}": tensor.detach() for name, tensor in module.named_parameters()}
        named |= {f"{prefix}.{name}": tensor for name, tensor in module.named_buffers()}
    for kind, optimizer in enumerate(optimizers):
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for index, parameter in enumerate(parameters):
            for key, value in optimizer.state[parameter].items():
                named[f"optimizer.{kind}.{index}.{key}"] = value
    return named
