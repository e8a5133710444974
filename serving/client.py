"""Asks a running server for a caption, over HTTP or gRPC."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import grpc
import requests

from serving.config import Endpoint
from serving.errors import ServingError
from serving.inference_pb2 import PredictionsRequest
from serving.inference_pb2_grpc import InferenceAPIsServiceStub

TIMEOUT = 60  # s; as long as TorchServe lets a worker take


def caption_over_http(
    photo: bytes,
    name: str,
    server: Endpoint,
    key: str,
    fields: Mapping[str, str] | None = None,
    *,
    timeout: float = TIMEOUT,
) -> dict[str, Any]:
    """Send an encoded photo as the raw body, with `fields` as multipart; returns the reply.

    `name` may be NAME/VERSION; fields are options such as `num_beams`; `timeout` is in s. Raises
    ServingError with the server's message for anything but a caption.
    """
    url, headers = f"{server.url}/predictions/{name}", {"Authorization": f"Bearer {key}"}
    try:
        if fields:
            answer = requests.post(url, fields, files={"image": photo}, headers=headers, timeout=timeout)
        else:
            headers["Content-Type"] = "application/octet-stream"
            answer = requests.post(url, photo, headers=headers, timeout=timeout)
    except requests.ConnectionError:
        raise ServingError(f"no server answers at {server}: `make serve` starts it") from None
    except requests.RequestException as error:
        raise ServingError(f"the server at {server} did not answer: {error}") from None
    if answer.status_code == requests.codes.request_entity_too_large and not answer.content:
        raise ServingError("the photo is larger than max_request_size in config.properties")
    return _read(answer.content)


def caption_over_grpc(
    photo: bytes, name: str, server: Endpoint, key: str, fields: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Send an encoded photo as the input `image`, `fields` beside it; replies and errors as over HTTP."""
    inputs = {"image": photo, **{field: text.encode() for field, text in (fields or {}).items()}}
    request = PredictionsRequest(model_name=name, input=inputs)
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
