"""Photos through a real server. The answers expected come from the engine, called directly."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
import requests

from model.captioner import Captioner
from serving.inference_pb2 import PredictionsRequest
from serving.inference_pb2_grpc import InferenceAPIsServiceStub
from serving.temporary import Server
from tests.tiny import photo


def expected(captioner: Captioner, seed: int) -> str:
    [captions] = captioner.caption([captioner.preprocess(photo(seed))])
    return captions[0].text


def post(
    server: Server,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    files: dict[str, tuple[str, bytes]] | None = None,
) -> requests.Response:
    headers = server.headers() | (headers or {})
    return requests.post(server.url, data=body, headers=headers, files=files, timeout=60)


def ask_grpc(server: Server, fields: dict[str, bytes], key: str | None = None) -> dict[str, Any]:
    metadata = [("authorization", f"Bearer {key or server.key()}")]
    with grpc.insecure_channel(str(server.config.grpc_inference)) as channel:
        request = PredictionsRequest(model_name="tiny", input=fields)
        reply = InferenceAPIsServiceStub(channel).Predictions(request, metadata=metadata, timeout=60)
    body: dict[str, Any] = json.loads(reply.prediction)
    return body


def test_every_way_to_send_a_photo_gives_the_same_reply(server: Server, captioner: Captioner) -> None:
    data = photo(0)
    replies = [post(server, data).json()]
    replies += [
        post(server, data, headers={"Content-Type": kind}).json() for kind in ("image/png", "text/plain")
    ]
    replies += [post(server, files={field: ("p.png", data)}).json() for field in ("image", "data")]
    replies += [ask_grpc(server, {field: data}) for field in ("image", "data", "body")]
    assert replies[0]["caption"] == expected(captioner, 0)
    assert replies[0]["model"] == {"name": "tiny", "version": "1.0"}
    assert all(reply == replies[0] for reply in replies)


def test_a_broken_photo_among_eight_fails_alone(server: Server, captioner: Captioner) -> None:
    bodies = [photo(seed) for seed in range(8)]
    bodies[3] = bodies[3][: len(bodies[3]) // 2]
    batches = server.log("model.log").count("Backend received inference")
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda body: post(server, body), bodies))
    assert [reply.status_code for reply in replies] == [200, 200, 200, 415, 200, 200, 200, 200]
    assert all(reply.headers["Content-Type"] == "application/json" for reply in replies)
    assert replies[3].json()["error"]["type"] == "not_an_image"
    assert replies[5].json()["caption"] == expected(captioner, 5)
    # They did travel together.
    assert server.log("model.log").count("Backend received inference") - batches < 8


def test_many_photos_at_once_equal_one_by_one(server: Server) -> None:
    bodies = [photo(seed) for seed in range(32)]
    singles = [post(server, body).json()["caption"] for body in bodies]
    with ThreadPoolExecutor(32) as pool:
        together = list(pool.map(lambda body: post(server, body).json()["caption"], bodies))
    assert together == singles
    assert len(set(singles)) > 16


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, 400),
        ({"body": b"GIF89a, but not really"}, 415),
        ({"body": b'{"image": "JSON"}', "headers": {"Content-Type": "application/json"}}, 415),
        ({"body": b"hello", "headers": {"Content-Type": "text/plain"}}, 400),
        ({"files": {"foto": ("p.png", photo(0))}}, 400),
        ({"files": {"image": ("p.png", photo(0)), "data": ("p.png", photo(0))}}, 400),
        ({"body": photo(0, (8000, 8000))}, 413),
    ],
)
def test_what_is_wrong_is_said(server: Server, options: dict[str, Any], code: int) -> None:
    reply = post(server, **options)
    assert reply.status_code == code
    assert reply.json()["error"]["code"] == code
    assert reply.json()["error"]["message"]


def test_grpc_succeeds_for_a_bad_photo_and_the_body_tells(server: Server) -> None:
    assert ask_grpc(server, {"image": b"no photo"})["error"]["code"] == 415
    assert ask_grpc(server, {})["error"]["code"] == 400


def test_a_request_above_the_limit_is_refused_unread(server: Server) -> None:
    body = bytes(22 * 2**20)
    reply = post(server, body)
    assert (reply.status_code, reply.content) == (413, b"")
    with pytest.raises(grpc.RpcError) as refused:
        ask_grpc(server, {"image": body})
    assert refused.value.code() == grpc.StatusCode.CANCELLED


def test_a_photo_of_20_mb_gets_through(server: Server, captioner: Captioner) -> None:
    body = photo(0) + bytes(20 * 2**20 - len(photo(0)))  # a PNG ends where it says
    assert post(server, files={"image": ("p.png", body)}).json()["caption"] == expected(captioner, 0)


def test_the_worker_survived_all_of_it(server: Server) -> None:
    """Last of this file: nothing above may have ended a worker, or left content in its log."""
    log = server.log("model.log")
    assert log.count("Torch worker started.") == 1
    assert "Backend worker process died." not in log
    assert post(server, photo(1)).json()["caption"] not in log
