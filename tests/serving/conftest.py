"""One real TorchServe, on its own ports and in its own folder, for all tests that ask it things."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml

from archive.build import CONFIG, build
from archive.origin import Origin
from bench.server import on_free_ports
from model.captioner import Captioner
from serving import process
from serving.access import access_key
from serving.config import ServerConfig
from serving.startup import start
from tests.tiny import write_tiny_checkpoint

ROOT = Path(__file__).parents[2]


def write_config(folder: Path) -> None:
    """The config.properties that ships, with other ports."""
    text = (ROOT / "config.properties").read_text()
    (folder / "config.properties").write_text(on_free_ports(text))


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
    config["captioner"] = {"dtype": "float32"}  # and the checkpoint's own search options
    (folder / "model-config.yaml").write_text(yaml.safe_dump(config))
    return build(Origin.of_folder(checkpoint), "tiny", "1.0", folder, config=folder / "model-config.yaml")


@dataclass(frozen=True)
class Server:
    root: Path
    config: ServerConfig

    def key(self) -> str:
        return access_key(self.root, "inference", self.config.management)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key()}"}

    @property
    def url(self) -> str:
        return f"{self.config.inference.url}/predictions/tiny"

    def log(self, name: str) -> str:
        return (self.root / process.LOGS / name).read_text()


@pytest.fixture(scope="session")
def new_folder(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Make a folder that a server can be started in."""

    def new() -> Path:
        folder = tmp_path_factory.mktemp("server")
        write_config(folder)
        (folder / "tiny.mar").write_bytes(archive.read_bytes())
        return folder

    return new


@pytest.fixture(scope="session")
def server(new_folder: Callable[[], Path]) -> Iterator[Server]:
    folder = new_folder()
    start(folder, Path("config.properties"), ["tiny"], lambda _: None)
    running = process.find(folder)
    assert running is not None
    yield Server(folder, ServerConfig.from_file(folder / "config.properties"))
    process.end(running, folder)
