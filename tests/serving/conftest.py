"""One real TorchServe, on its own ports and in its own folder, for all tests that ask it things."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml

from archive.build import CONFIG, build
from archive.origin import Origin
from model.captioner import Captioner
from serving.temporary import Server, served_archive, write_properties
from tests.tiny import write_tiny_checkpoint

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="session")
def captioner(checkpoint: Path) -> Captioner:
    """The engine without a server."""
    return Captioner.from_folder(checkpoint, dtype=torch.float32)


@pytest.fixture(scope="session")
def archive(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In float32, where batches equal singles, and with time for requests to meet in one batch."""
    folder = tmp_path_factory.mktemp("archive")
    config = yaml.safe_load(CONFIG.read_text())
    config["maxBatchDelay"] = 100
    # The checkpoint's own search options.
    config["captioner"] = {"dtype": "float32", "log_requests": True}
    (folder / "model-config.yaml").write_text(yaml.safe_dump(config))
    return build(Origin.of_folder(checkpoint), "tiny", "1.0", folder, config=folder / "model-config.yaml")


@pytest.fixture(scope="session")
def new_folder(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Make a folder that a server can be started in."""

    def new() -> Path:
        folder = tmp_path_factory.mktemp("server")
        write_properties(folder)
        (folder / "tiny.mar").write_bytes(archive.read_bytes())
        return folder

    return new


@pytest.fixture(scope="session")
def server(new_folder: Callable[[], Path]) -> Iterator[Server]:
    with served_archive(new_folder(), "tiny") as served:
        yield served
