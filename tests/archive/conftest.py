from pathlib import Path

import pytest

from archive.build import build
from archive.origin import Origin
from tests.tiny import write_tiny_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="session")
def archive(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(Origin.of_folder(checkpoint), "tiny", "1.0", tmp_path_factory.mktemp("archive"))
