"""The weights of a checkpoint folder, whichever file format holds them.

    model.safetensors                                one file
    model.safetensors.index.json, model-0000N-of-….safetensors    sharded
    pytorch_model.bin                                one file of tensors, pickled
    pytorch_model.bin.index.json, pytorch_model-0000N-of-….bin    sharded

Each weight is read when asked for, so that loading needs little more memory than what it makes.
Of a pickle, only tensors are ever read (`weights_only`): it cannot run code.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from model.errors import CheckpointError
from model.network.config import read_json

SINGLE = ("model.safetensors", "pytorch_model.bin")
SHARDED = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


@dataclass(frozen=True, slots=True)
class Weight:
    """One stored weight: its shape, and how to read it."""

    shape: tuple[int, ...]
    read: Callable[[], Tensor]


def weight_files(folder: Path) -> list[Path]:
    """Find the file or files that hold the weights; safetensors go before pickles.

    Raises CheckpointError naming what was looked for.
    """
    for single, sharded in zip(SINGLE, SHARDED, strict=True):
        if (folder / single).is_file():
            return [folder / single]
        if (folder / sharded).is_file():
            shards = read_json(folder / sharded).get("weight_map")
            if not isinstance(shards, Mapping):
                raise CheckpointError(f"{folder / sharded} has no weight_map")
            for name in shards.values():
                if not isinstance(name, str) or name in ("", "..") or Path(name).name != name:
                    raise CheckpointError(f"{folder / sharded}: {name!r} names no file of its folder")
            return [folder / name for name in sorted(set(shards.values()))]
    raise CheckpointError(f"{folder} holds no weights: one of {', '.join(SINGLE + SHARDED)} is needed")


def open_weights(folder: Path) -> dict[str, Weight]:
    """Return the weights by their names in the file; raises CheckpointError for an unreadable file."""
    weights: dict[str, Weight] = {}
    for path in weight_files(folder):
        try:
            weights |= _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
        except FileNotFoundError:
            raise CheckpointError(f"{path} does not exist, though the index names it") from None
        except SafetensorError as error:
            raise CheckpointError(f"{path} is not a safetensors file: {error}") from None
        except Exception as error:  # torch's readers raise almost anything on broken data
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(f"{path} is not a file of tensors alone: {reason}") from None
    return weights


def _safetensors(path: Path) -> dict[str, Weight]:
    # Opened anew for each weight: the pages of a mapping count as memory until it is closed.
    def reader(name: str) -> Callable[[], Tensor]:
        def read() -> Tensor:
            with safe_open(path, framework="pt") as file:
                tensor: Tensor = file.get_tensor(name)
            return tensor

        return read

    with safe_open(path, framework="pt") as file:
        return {
            name: Weight(tuple(file.get_slice(name).get_shape()), reader(name))
            for name in file.keys()  # noqa: SIM118
        }


def _pickled(path: Path) -> dict[str, Weight]:
    # The format of torch before 1.6 is no zip file and cannot be mapped.
    with path.open("rb") as file:
        mapped = file.read(4) == b"PK\x03\x04"
    with warnings.catch_warnings(action="ignore"):  # of pickles that are refused next
        content = torch.load(path, map_location="cpu", mmap=mapped, weights_only=True)
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError("it does not map names to tensors")

    def reader(tensor: Tensor) -> Callable[[], Tensor]:
        return lambda: tensor

    return {str(name): Weight(tuple(tensor.shape), reader(tensor)) for name, tensor in content.items()}
