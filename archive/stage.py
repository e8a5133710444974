"""Which files go into the archive, and where they lie in it.

    captioner_handler.py   TorchServe's entry point
    handler/  model/       the packages it imports
    checkpoint/            weights as safetensors, dimensions, tokenizer
    model-config.yaml

A list of names decides, so nothing that happens to lie around comes along: no
caches, no test data and no pickled weights.
"""

import shutil
from pathlib import Path

from safetensors.torch import save_file

from archive.errors import ArchiveError
from archive.worker_code import ENTRY, code_files
from model.checkpoint.weights import open_weights, weight_files
from model.errors import CheckpointError
from model.tokenizer import Tokenizer

WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer.json"

DESCRIPTIONS = ("config.json", "preprocessor_config.json")
OPTIONAL = ("generation_config.json", "README.md", "LICENSE")


def stage(checkpoint: Path, folder: Path) -> None:
    """Copy packages and checkpoint into `folder`, an empty directory.

    Entry point and configuration are not copied: torch-model-archiver takes them by path.
    Raises ArchiveError where the checkpoint lacks a file or one cannot be read.
    """
    if not checkpoint.is_dir():
        raise ArchiveError(f"{checkpoint} is not a folder with a checkpoint")
    missing = [name for name in DESCRIPTIONS if not (checkpoint / name).is_file()]
    if missing:
        raise ArchiveError(f"{checkpoint} lacks {', '.join(missing)}")
    for name, source in code_files().items():
        if name != ENTRY:
            copy = folder / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
    target = folder / "checkpoint"
    target.mkdir()
    for name in (*DESCRIPTIONS, *OPTIONAL):
        if (checkpoint / name).is_file():
            shutil.copyfile(checkpoint / name, target / name)
    try:
        stage_weights(checkpoint, target)
        stage_tokenizer(checkpoint, target)
    except CheckpointError as error:
        raise ArchiveError(str(error)) from None


def stage_weights(checkpoint: Path, target: Path) -> None:
    """Bring the weights as one safetensors file, whichever form they have in the checkpoint.

    Raises CheckpointError where there are none, or they cannot be read.
    """
    files = weight_files(checkpoint)
    if [file.name for file in files] == [WEIGHTS]:
        shutil.copyfile(files[0], target / WEIGHTS)
        return
    # Copies, because tensors that share their memory (a tied output layer) cannot be saved.
    weights = {name: weight.read().clone() for name, weight in open_weights(checkpoint).items()}
    save_file(weights, target / WEIGHTS, metadata={"format": "pt"})


def stage_tokenizer(checkpoint: Path, target: Path) -> None:
    """Bring the tokenizer as `tokenizer.json`; raises CheckpointError where there is none."""
    if (checkpoint / TOKENIZER).is_file():
        shutil.copyfile(checkpoint / TOKENIZER, target / TOKENIZER)
    else:
        Tokenizer.from_folder(checkpoint).backend.save(str(target / TOKENIZER))
