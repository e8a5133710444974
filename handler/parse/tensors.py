"""Tensors of version 2 of KServe's protocol (Open Inference Protocol) → their photos.

Each element of the BYTES tensors among `inputs` is a photo, base64 in JSON. Fields are
`parameters`, of the request or of a tensor.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from handler.errors import RequestError
from handler.parse.base64_photo import decoded_photo
from handler.parse.check import check_count, photo_request
from handler.parse.fields import merge, shortened
from handler.photo import BodyFormat, ParsedRequest, PhotoRequest
from handler.policy import Policy

KEYS = {"id", "inputs", "outputs", "parameters"}
TENSOR_KEYS = {"name", "shape", "datatype", "data", "parameters"}
OUTPUT_KEYS = {"name", "parameters"}
OUTPUTS = {"caption": "BYTES", "score": "FP32", "reply": "BYTES"}
"""Tensors of a reply, an element a photo, and their datatypes; `reply` is all of it as JSON text."""
LONGEST_ID = 200  # characters
MOST_SIDES = 8  # of a tensor


def parse(document: Mapping[str, Any], defaults: Mapping[str, object], policy: Policy) -> ParsedRequest:
    """Read an inference request, whose fields replace `defaults`.

    Raises RequestError for what concerns all of it.
    """
    for key in document:
        if key not in KEYS:
            raise RequestError(
                f"is not known beside inputs; known are {', '.join(sorted(KEYS))}", shortened(key)
            )
    fields = {**defaults, **parameters(document, "parameters")}
    inputs = document["inputs"]
    if not isinstance(inputs, list) or not inputs:
        raise RequestError("is no list of one tensor or more", "inputs")
    photos: list[PhotoRequest | Exception] = []
    for index, tensor in enumerate(inputs):
        where = f"inputs[{index}]"
        elements = elements_of(tensor, where)
        check_count("inputs", len(photos) + len(elements), policy)
        own = {**fields, **parameters(tensor, f"{where}.parameters")}
        photos += [
            element_request(one, own, f"{where}.data[{place}]", policy) for place, one in enumerate(elements)
        ]
    return ParsedRequest(
        BodyFormat.TENSORS, tuple(photos), id=identifier(document), outputs=asked_outputs(document)
    )


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


def element_request(
    element: object, fields: Mapping[str, object], where: str, policy: Policy
) -> PhotoRequest | Exception:
    """Read one element of a tensor."""
    try:
        return photo_request(decoded_photo(element, where), fields, where, policy)
    except Exception as error:  # a defect, too, costs the other elements nothing
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
