"""A handler that has loaded a tiny checkpoint, and TorchServe's own context to call it with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ts.context import Context, RequestProcessor

from handler.captioner_handler import CaptionerHandler
from tests.tiny import write_tiny_checkpoint

MANIFEST = {"model": {"modelName": "tiny", "modelVersion": "2.1", "handler": "captioner_handler.py"}}
CONFIG = {"maxWorkers": 1, "captioner": {"dtype": "float32", "max_pixels": 10_000}}


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What TorchServe extracts from an archive, as far as the handler reads it."""
    folder = tmp_path_factory.mktemp("model")
    write_tiny_checkpoint(folder / "checkpoint")
    return folder


@pytest.fixture
def new_context(model_folder: Path) -> Callable[..., Context]:
    """Make a context for a model-config.yaml and the headers of a batch's requests."""

    def new(config: dict[str, Any] = CONFIG, headers: list[dict[str, str]] | None = None) -> Context:
        context = Context("tiny", str(model_folder), MANIFEST, 8, None, "0.12.0", model_yaml_config=config)
        context.request_processor = [RequestProcessor(header) for header in headers or []]
        return context

    return new


@pytest.fixture
def handler(new_context: Callable[..., Context]) -> CaptionerHandler:
    made = CaptionerHandler()
    made.initialize(new_context())
    return made
