"""Version 2 of KServe's protocol (Open Inference Protocol): tensors in, tensors out.

Each element of the BYTES tensors among `inputs` is a photo, base64 in JSON. Fields are
`parameters`, of the request or of a tensor. The reply has three tensors with an element per
photo: `caption`, `score`, and `reply`, which holds all of it as JSON text.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from handler import photos
from handler.entries import Entry, Form, Request, check_count
from handler.errors import RequestError
from handler.fields import merge, shortened

KEYS = {"id", "inputs", "outputs", "parameters"}
TENSOR_KEYS = {"name", "shape", "datatype", "data", "parameters"}
OUTPUT_KEYS = {"name", "parameters"}
OUTPUTS = {"caption": "BYTES", "score": "FP32", "reply": "BYTES"}
LONGEST_ID = 200  # characters
MOST_SIDES = 8  # of a tensor


def parse(document: Mapping[str, Any], defaults: Mapping[str, object], most: int) -> Request:
    """Read an inference request; raises RequestError for what concerns all of it."""
    for key in document:
        if key not in KEYS:
            raise RequestError(
                f"is not known beside inputs; known are {', '.join(sorted(KEYS))}", shortened(key)
            )
    fields = {**defaults, **parameters(document, "parameters")}
    inputs = document["inputs"]
    if not isinstance(inputs, list) or not inputs:
        raise RequestError("is no list of one tensor or more", "inputs")
    entries: list[Entry | RequestError] = []
    for index, tensor in enumerate(inputs):
        where = f"inputs[{index}]"
        elements = elements_of(tensor, where)
        check_count("inputs", len(entries) + len(elements), most)
        own = {**fields, **parameters(tensor, f"{where}.parameters")}
        entries += [attempt(one, own, f"{where}.data[{place}]") for place, one in enumerate(elements)]
    if not entries:
        raise RequestError("holds no photo", "inputs")
    return Request(Form.INFER, tuple(entries), id=identifier(document), outputs=asked_outputs(document))


def elements_of(tensor: object, where: str) -> list[object]:
    """Check one BYTES tensor; returns its elements."""
    if not isinstance(tensor, dict):
        raise RequestError("is no object", where)
    for key in tensor:
        if key not in TENSOR_KEYS:
            raise RequestError(
                f"is not known in {where}; known are {', '.join(sorted(TENSOR_KEYS))}", shortened(key)
            )
    if not isinstance(tensor.get("name", ""), str):
        raise RequestError("is no string", f"{where}.name")
    if tensor.get("datatype") != "BYTES":
        raise RequestError('is not "BYTES": photos are tensors of bytes', f"{where}.datatype")
    data, shape = tensor.get("data"), tensor.get("shape")
    elements = list(flat(data)) if isinstance(data, list) else []
    if not elements:
        raise RequestError("is no list of base64 strings, one a photo", f"{where}.data")
    if not isinstance(shape, list) or not all(type(side) is int for side in shape):
        raise RequestError("is no list of integers", f"{where}.shape")
    fits = len(shape) <= MOST_SIDES and min(shape, default=1) > 0 and math.prod(shape) == len(elements)
    if shape != [-1] and not fits:
        raise RequestError(f"does not fit the {len(elements)} elements of its data", f"{where}.shape")
    return elements


def flat(data: Sequence[object]) -> Iterator[object]:
    """Yield the elements of a list, and of lists in it, in order."""
    for one in data:
        if isinstance(one, list):
            yield from one
        else:
            yield one


def attempt(element: object, fields: Mapping[str, object], where: str) -> Entry | RequestError:
    """Read one element of a tensor."""
    try:
        return Entry(photos.from_json(element, where), fields, where)
    except RequestError as error:
        return error


def parameters(raw: Mapping[str, Any], where: str) -> dict[str, object]:
    """Read the fields among an object's `parameters`."""
    fields: dict[str, object] = {}
    if "parameters" in raw:
        merge(fields, raw["parameters"], where)
    return fields


def identifier(document: Mapping[str, Any]) -> str | None:
    """Read the request's `id`."""
    given = document.get("id")
    if given is not None and (not isinstance(given, str) or len(given) > LONGEST_ID):
        raise RequestError(f"is no string of at most {LONGEST_ID} characters", "id")
    return given


def asked_outputs(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Read the names of the output tensors that are wanted, each once: a reply grows with them."""
    wanted = document.get("outputs", [])
    names: list[str] = []
    for given in wanted if isinstance(wanted, list) else [None]:
        one = given if isinstance(given, dict) else {}
        name = one.get("name")
        if not isinstance(name, str) or name not in OUTPUTS:
            raise RequestError(f"is no list of objects with a name from {', '.join(OUTPUTS)}", "outputs")
        if name in names:
            raise RequestError(f"names {name} twice", "outputs")
        if not one.keys() <= OUTPUT_KEYS or one.get("parameters", {}) not in ({}, {"binary_data": False}):
            raise RequestError(f"asks of {name} what no output has: tensors come back as JSON", "outputs")
        names.append(name)
    return tuple(names)


def body(replies: Sequence[Mapping[str, Any]], request: Request, model: Mapping[str, str]) -> dict[str, Any]:
    """Build the reply from those of the photos; one that failed has an empty caption and score 0."""
    columns: dict[str, list[Any]] = {
        "caption": [reply.get("caption", "") for reply in replies],
        "score": [reply.get("score", 0.0) for reply in replies],
        "reply": [json.dumps(reply, ensure_ascii=False, allow_nan=False) for reply in replies],
    }
    names = request.outputs or tuple(OUTPUTS)
    return {
        "model_name": model["name"],
        "model_version": model["version"],
        **({} if request.id is None else {"id": request.id}),
        "outputs": [
            {"name": name, "datatype": OUTPUTS[name], "shape": [len(replies)], "data": columns[name]}
            for name in names
        ],
    }
