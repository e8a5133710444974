"""A handler that has loaded a tiny checkpoint, and TorchServe's own context to call it with."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ts.context import Context, RequestProcessor

from handler.captioner_handler import CaptionerHandler
from tests.tiny import photo, write_tiny_checkpoint

NewContext = Callable[..., Context]


def ask(
    handler: CaptionerHandler, new_context: NewContext, items: list[dict[str, object]], **headers: str
) -> list[tuple[int, Any]]:
    """Run one batch; returns each item's status and decoded body."""
    context = new_context(headers=[dict(headers) for _ in items])
    bodies = handler.handle(items, context)
    assert all(context.get_response_content_type(i) == "application/json" for i in range(len(items)))
    return [(context.get_response_status(i)[0], json.loads(body)) for i, body in enumerate(bodies)]


Item = dict[str, object]


def body(seed: int) -> Item:
    return {"body": bytearray(photo(seed))}


def as_base64(seed: int, size: tuple[int, int] = (48, 40)) -> str:
    return base64.b64encode(photo(seed, size)).decode()


ORIGIN = {"source": "local folder", "license": "mit", "provenance": {"weights_sha256": "abc"}}
MANIFEST = {
    "model": {"modelName": "tiny", "modelVersion": "2.1", "handler": "captioner_handler.py"},
    **ORIGIN,
}
CONFIG = {"maxWorkers": 1, "captioner": {"dtype": "float32", "max_pixels": 10_000}}


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What TorchServe extracts from an archive, as far as the handler reads it."""
    folder = tmp_path_factory.mktemp("model")
    write_tiny_checkpoint(folder / "checkpoint")
    return folder


@pytest.fixture(scope="session")
def new_context(model_folder: Path) -> NewContext:
    """Make a context for a model-config.yaml and the headers of a batch's requests."""

    def new(config: dict[str, Any] = CONFIG, headers: list[dict[str, str]] | None = None) -> Context:
        context = Context("tiny", str(model_folder), MANIFEST, 8, None, "0.12.0", model_yaml_config=config)
        context.request_processor = [RequestProcessor(header) for header in headers or []]
        return context

    return new


@pytest.fixture(scope="session")
def handler(new_context: NewContext) -> CaptionerHandler:
    """One for all tests; what they replace in it is put back."""
    made = CaptionerHandler()
    made.initialize(new_context())
    return made
