"""Which files go into the archive, and where they lie in it.

    captioner_handler.py   TorchServe's entry point
    handler/  model/       the packages it imports
    checkpoint/            weights, dimensions, tokenizer
    model-config.yaml

A list of names decides, so nothing that happens to lie around comes along: no
caches, no test data and no pickled weights.
"""

import shutil
from pathlib import Path

from archive.errors import ArchiveError

ROOT = Path(__file__).resolve().parent.parent
HANDLER = ROOT / "handler" / "captioner_handler.py"

REQUIRED = ("config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json")
OPTIONAL = ("generation_config.json", "README.md", "LICENSE")


def stage(checkpoint: Path, folder: Path) -> None:
    """Copy packages and checkpoint into `folder`, an empty directory.

    Entry point and configuration are not copied: torch-model-archiver takes them by path.
    Raises ArchiveError where the checkpoint lacks a file.
    """
    if not checkpoint.is_dir():
        raise ArchiveError(f"{checkpoint} is not a folder with a checkpoint")
    missing = [name for name in REQUIRED if not (checkpoint / name).is_file()]
    if missing:
        hint = "; pickled weights are not packed" if list(checkpoint.glob("*.bin")) else ""
        raise ArchiveError(f"{checkpoint} lacks {', '.join(missing)}{hint}")
    for package in ("handler", "model"):
        (folder / package).mkdir()
        for source in sorted((ROOT / package).glob("*.py")):
            if source != HANDLER:
                shutil.copyfile(source, folder / package / source.name)
    (folder / "checkpoint").mkdir()
    for name in (*REQUIRED, *OPTIONAL):
        if (checkpoint / name).is_file():
            shutil.copyfile(checkpoint / name, folder / "checkpoint" / name)
