"""A real server: forward and back while clients keep asking, a worker lost, and a restart."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import pytest
import requests

from chaos.rollout import roll_under_load
from serving import process
from serving.startup import start
from serving.store import Archive
from serving.temporary import PROPERTIES, Server, served_archive
from serving.versions.bounds import Bounds
from serving.versions.management import Management
from serving.versions.operations import scale
from serving.versions.probe import Probe
from serving.versions.restart import last_served
from tests.tiny import photo

PHOTOS = {f"{seed}.png": photo(seed) for seed in range(3)}
BOUNDS = Bounds(watch=1, slower=1000, p95=1000)


@pytest.fixture(scope="module")
def server(new_folder: Callable[[], Path]) -> Iterator[Server]:
    with served_archive(new_folder(), "tiny") as served:
        yield served


def packed_anew(archive: Path, path: Path) -> Archive:
    """The same model as version 2.0, by another name."""
    with ZipFile(archive) as old, ZipFile(path, "w", ZIP_STORED) as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "MAR-INF/MANIFEST.json":
                manifest = json.loads(content)
                manifest["model"] |= {"modelName": "other", "modelVersion": "2.0"}
                content = json.dumps(manifest).encode()
            new.writestr(name, content)
    return Archive(path, "tiny", "2.0")


def test_versions_change_and_a_worker_dies_while_clients_ask(
    server: Server, archive: Path, tmp_path: Path
) -> None:
    new = packed_anew(archive, tmp_path / "other.mar")
    said: list[str] = []
    report = roll_under_load(server, new, PHOTOS, count=40, rate=5, bounds=BOUNDS, say=said.append)
    assert report.problems("2.0") == []
    assert {one.version for one in report.outcomes} == {"1.0", "2.0"}
    # Only what a killed worker had in hand is lost, and only at first. TorchServe never answers some of it.
    failed = [one for one in report.outcomes if one.first != "200"]
    assert {one.first for one in failed} <= {"500", "507", "ReadTimeout"}
    assert len(failed) <= 8
    assert re.search(r"\d+ Worker disconnected\. WORKER_MODEL_LOADED", server.log("server.log"))
    assert "Retry worker: " in server.log("server.log")
    management = Management(server.root, server.config, "tiny", said.append)
    assert set(management.versions()) == {"1.0", "2.0"}
    assert Probe(server.root, server.config, "tiny").ask(photo(0)).version == "2.0"
    # Its archive was built under another name: replies have the one that is served.
    assert b'"name": "tiny", "version": "2.0"' in raw_reply(server)

    scale(management, 2)
    assert management.versions()["2.0"].ready == 2
    running = process.find(server.root)
    assert running is not None
    process.end(running, server.root)
    with ExitStack() as stack:
        start(server.root, PROPERTIES, [last_served(server.root, "tiny")], lambda _: None)
        restarted = process.find(server.root)
        assert restarted is not None
        stack.callback(process.end, restarted, server.root)
        assert management.default() == "2.0"
        assert set(management.versions()) == {"2.0"}
        before = server.root / process.LOGS.with_name("logs.1")
        assert "Retry worker: " in (before / "server.log").read_text()


def raw_reply(server: Server) -> bytes:
    return requests.post(server.url, photo(0), headers=server.headers(), timeout=60).content
