"""Asks a running server for a caption, over HTTP or gRPC."""

from __future__ import annotations

import json
from typing import Any

import grpc
import requests

from serving.config import Endpoint
from serving.errors import ServingError
from serving.inference_pb2 import PredictionsRequest
from serving.inference_pb2_grpc import InferenceAPIsServiceStub

TIMEOUT = 60  # s; as long as TorchServe lets a worker take


def caption_over_http(photo: bytes, name: str, server: Endpoint, key: str) -> dict[str, Any]:
    """Send an encoded photo as the raw body; returns the reply.

    Raises ServingError with the server's message for anything but a caption.
    """
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/octet-stream"}
    try:
        answer = requests.post(f"{server.url}/predictions/{name}", photo, headers=headers, timeout=TIMEOUT)
    except requests.ConnectionError:
        raise ServingError(f"no server answers at {server}: `make serve` starts it") from None
    except requests.RequestException as error:
        raise ServingError(f"the server at {server} did not answer: {error}") from None
    if answer.status_code == requests.codes.request_entity_too_large and not answer.content:
        raise ServingError("the photo is larger than max_request_size in config.properties")
    return _read(answer.content)


def caption_over_grpc(photo: bytes, name: str, server: Endpoint, key: str) -> dict[str, Any]:
    """Send an encoded photo as the input `image`; the same reply and errors as over HTTP."""
    request = PredictionsRequest(model_name=name, input={"image": photo})
    metadata = [("authorization", f"Bearer {key}")]
    with grpc.insecure_channel(str(server)) as channel:
        try:
            answer = InferenceAPIsServiceStub(channel).Predictions(
                request, metadata=metadata, timeout=TIMEOUT
            )
        except grpc.RpcError as error:
            raise ServingError(f"{server} answers {error.code().name}: {error.details()}") from None
    return _read(answer.prediction)


def _read(body: bytes) -> dict[str, Any]:
    """Decode a reply; raises ServingError for an error of the captioner or of TorchServe itself."""
    try:
        reply: dict[str, Any] = json.loads(body)
    except ValueError:
        raise ServingError("the server's reply is not JSON") from None
    if "caption" not in reply:
        raise ServingError(str(reply.get("error", reply).get("message", reply)))
    return reply
