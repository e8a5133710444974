"""The weights that ship, served: the sample photo gets one and the same caption over HTTP and gRPC."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from archive.build import build
from archive.origin import Origin
from serving import process
from serving.access import access_key
from serving.client import caption_over_grpc, caption_over_http
from serving.config import ServerConfig
from serving.startup import start
from serving.store import Archive
from serving.temporary import write_properties
from tests.serving.conftest import ROOT

SAMPLE = (ROOT / "examples" / "dog.jpg").read_bytes()


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("shipped")
    write_properties(folder)
    packed = build(Origin.of_folder(ROOT / "checkpoints" / "flickr8k-coco"), "captioner", "1.0", folder)
    start(folder, Path("config.properties"), [Archive.from_file(packed)], lambda _: None)
    yield folder
    running = process.find(folder)
    assert running is not None
    process.end(running, folder)


def test_http_and_grpc_give_the_same_sensible_caption(shipped: Path) -> None:
    config = ServerConfig.from_file(shipped / "config.properties")
    key = access_key(shipped, "inference", config.management)
    over_http = caption_over_http(SAMPLE, "captioner", config.inference, key)
    over_grpc = caption_over_grpc(SAMPLE, "captioner", config.grpc_inference, key)
    assert over_http == over_grpc
    assert "dog" in over_http["caption"].split()
    assert over_http["model"] == {"name": "captioner", "version": "1.0"}
