"""Who may ask the server, and where it listens."""

import json
from math import inf
from pathlib import Path
from typing import Literal

import grpc
import psutil
import pytest
import requests

from serving import process
from serving.access import KEY_FILE, access_key
from serving.config import ServerConfig
from serving.errors import ServingError
from serving.temporary import SHIPPED, Server
from tests.serving.test_predictions import ask_grpc
from tests.tiny import photo


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
def test_without_the_key_there_is_no_answer(server: Server, headers: dict[str, str]) -> None:
    reply = requests.post(server.url, photo(0), headers=headers, timeout=10)
    assert (reply.status_code, reply.json()["type"]) == (400, "InvalidKeyException")


def test_the_same_holds_over_grpc(server: Server) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        ask_grpc(server, {"image": photo(0)}, key="wrong")
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_only_the_owner_can_read_the_keys(server: Server) -> None:
    assert (server.root / KEY_FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["inference", "management"])
def test_an_expired_key_is_renewed(server: Server, kind: Literal["inference", "management"]) -> None:
    path = server.root / KEY_FILE
    keys = json.loads(path.read_text())
    old = keys[kind]["key"]
    assert access_key(server.root, kind, server.config.management) == old
    keys[kind]["expiration time"] = "2020-01-01T00:00:00.123456789Z"
    path.write_text(json.dumps(keys))
    new = access_key(server.root, kind, server.config.management)
    assert new != old
    url = server.config.management.url + "/models" if kind == "management" else server.url
    data = None if kind == "management" else photo(0)
    method = "GET" if kind == "management" else "POST"
    for key, status in ((new, 200), (old, 400)):
        headers = {"Authorization": f"Bearer {key}"}
        assert requests.request(method, url, data=data, headers=headers, timeout=10).status_code == status


def test_a_key_that_soon_expires_is_renewed_and_the_one_before_refused(server: Server) -> None:
    """TorchServe has one key at a time. `make token NEW=1` asks for more life than any has."""
    old = access_key(server.root, "inference", server.config.management, inf)
    for left, renewed in ((3000.0, False), (3601.0, True), (inf, True)):
        new = access_key(server.root, "inference", server.config.management, left)
        assert (new != old) is renewed
        for key, status in ((new, 200), (old, 400 if renewed else 200)):
            headers = {"Authorization": f"Bearer {key}"}
            assert requests.post(server.url, photo(0), headers=headers, timeout=10).status_code == status
        old = new


@pytest.mark.parametrize("life", ["0", "-1", "525601", "nan", "an hour"])
def test_the_life_of_keys_has_bounds(life: str, tmp_path: Path) -> None:
    properties = SHIPPED.read_text(encoding="utf-8")
    assert ServerConfig.from_file(SHIPPED).key_life == 3600
    path = tmp_path / "config.properties"
    path.write_text(properties.replace("token_expiration_min=60", f"token_expiration_min={life}"))
    with pytest.raises(ServingError, match=life):
        ServerConfig.from_file(path)


def test_a_key_that_cannot_be_renewed_is_said_to_have_expired(server: Server) -> None:
    path = server.root / KEY_FILE
    good = path.read_text()
    keys = json.loads(good)
    keys["inference"]["expiration time"] = "2020-01-01T00:00:00Z"
    keys["API"]["key"] = "wrong"
    path.write_text(json.dumps(keys))
    try:
        with pytest.raises(ServingError, match="the inference key has to be renewed"):
            server.key()
    finally:
        path.write_text(good)


def test_it_listens_on_this_machine_only(server: Server) -> None:
    running = process.find(server.root)
    assert running is not None
    listening = [link.laddr for link in running.net_connections("tcp") if link.status == psutil.CONN_LISTEN]
    assert {address.port for address in listening} == {endpoint.port for endpoint in server.config}
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("kind", "url", "status"),
    [
        ("inference", "tiny.mar", 400),  # the wrong key
        ("management", "tiny-1.0.mar", 409),  # the right key and place: only the name is taken
        ("management", "logs", 404),  # a folder beside the store's archives
        ("management", "../logs", 404),
        ("management", "http://127.0.0.1:9/tiny.mar", 404),
        ("management", "file:///tmp/tiny.mar", 404),
    ],
)
def test_models_come_from_the_store_and_by_the_management_key(
    server: Server, kind: Literal["inference", "management"], url: str, status: int
) -> None:
    key = access_key(server.root, kind, server.config.management)
    reply = requests.post(
        f"{server.config.management.url}/models",
        params={"url": url},
        headers={"Authorization": f"Bearer {key}"},
        timeout=10,
    )
    assert reply.status_code == status, reply.text


def test_describe_reaches_the_handler(server: Server) -> None:
    key = access_key(server.root, "management", server.config.management)
    url = f"{server.config.management.url}/models/tiny?customized=true"
    [described] = requests.get(url, headers={"Authorization": f"Bearer {key}"}, timeout=10).json()
    assert described["batchSize"] == 8
    assert described["customizedMetadata"]["model"] == {"name": "tiny", "version": "1.0"}
    assert described["customizedMetadata"]["runtime"]["threads"] >= 1
    assert described["customizedMetadata"]["license"] == "not stated"
    assert len(described["customizedMetadata"]["provenance"]["weights_sha256"]) == 64


@pytest.mark.parametrize("path", ["/predictions/tiny", "/tiny/predict", "/v1/models/tiny:predict"])
@pytest.mark.parametrize(
    "kind", [None, "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"]
)
def test_describe_is_for_the_management_port_alone(server: Server, path: str, kind: str | None) -> None:
    headers = server.headers() | {"describe": "True"} | ({"Content-Type": kind} if kind else {})
    reply = requests.post(f"{server.config.inference.url}{path}", headers=headers, timeout=10)
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "bad_request"


def test_metrics_are_served_without_a_key(server: Server) -> None:
    text = requests.get(f"{server.config.metrics.url}/metrics", timeout=10).text
    assert 'ts_inference_requests_total{model_name="tiny"' in text
