"""The OpenAPI document says what the handler's own parser does, and what its replies are."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema_rs import Draft202012Validator

from handler.captioner_handler import CaptionerHandler
from handler.errors import CLIENT_ERRORS, INTERNAL
from handler.parse.check import EXPLANATION, photo_request
from handler.parse.fields import FIELDS, from_headers
from handler.parse.json_body import IMAGE_KEYS
from handler.parse.tensors import KEYS, LONGEST_ID, OUTPUTS, TENSOR_KEYS
from handler.policy import Policy
from handler.settings import Settings
from model.captioner import MAX_PROMPT
from model.errors import OptionError
from model.explain.explainer import MAX_CHARACTERS
from model.search.options import SAMPLING, GenerationOptions
from tests.handler.conftest import NewContext, as_base64, ask, body

ROOT = Path(__file__).parents[2]
DOCUMENT = yaml.safe_load((ROOT / "handler" / "openapi.yaml").read_text(encoding="utf-8"))
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
SETTINGS = Settings.from_yaml(yaml.safe_load((ROOT / "archive" / "model-config.yaml").read_text()))
POLICY = Policy(GenerationOptions(max_new_tokens=64), SETTINGS.limits, SETTINGS.max_photos)


def allowed(name: str, value: object) -> bool:
    """Whether the parser takes a value, with others beside it that it needs."""
    fields: dict[str, object] = {name: value}
    if name in SAMPLING:
        fields["do_sample"] = True
    if name in EXPLANATION:
        fields["explain"] = True
    if name == "num_captions":
        fields["num_beams"] = 16
    try:
        photo_request(b"a photo", fields, "image", POLICY)
    except OptionError as error:
        return error.field != name  # refused, but not for this
    return True


@pytest.mark.parametrize("schema", ["Fields", "ImageRequest", "InstancesRequest", "Form"])
def test_fields_have_the_parsers_names(schema: str) -> None:
    properties: dict[str, Any] = SCHEMAS[schema]["properties"]
    others = {*IMAGE_KEYS, "instances", "options"}
    assert properties.keys() - others == set(FIELDS)
    assert all(properties[name] == {"$ref": f"#/components/schemas/{name}"} for name in FIELDS)
    assert SCHEMAS[schema]["additionalProperties"] is False


def test_photos_and_tensors_have_the_parsers_names() -> None:
    assert SCHEMAS["ImageRequest"]["properties"].keys() - set(FIELDS) == {*IMAGE_KEYS, "options"}
    infer = SCHEMAS["InferRequest"]["properties"]
    assert infer.keys() == KEYS
    assert infer["inputs"]["items"]["properties"].keys() == TENSOR_KEYS
    assert infer["outputs"]["items"]["properties"]["name"]["enum"] == list(OUTPUTS)
    assert infer["id"]["maxLength"] == LONGEST_ID


def test_headers_are_read_as_their_fields() -> None:
    parameters = DOCUMENT["components"]["parameters"]
    assert list(parameters) == list(FIELDS)
    for name, parameter in parameters.items():
        assert parameter["in"] == "header"
        assert list(from_headers({parameter["name"]: "x"})) == [name]
    for path in ("/predictions/captioner", "/explanations/captioner"):
        given = DOCUMENT["paths"][path]["post"]["parameters"]
        assert [one["$ref"].split("/")[-1] for one in given] == list(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_values_are_allowed_as_the_parser_allows_them(name: str) -> None:
    schema = SCHEMAS[name]
    if "enum" in schema:
        assert all(allowed(name, value) for value in schema["enum"])
    for bound, beyond in (("minimum", -1), ("maximum", 1)):
        if bound in schema:
            assert allowed(name, schema[bound])
            assert not allowed(
                name, schema[bound] + (beyond if schema["type"] == "integer" else 0.001 * beyond)
            )
    validator = Draft202012Validator(schema)
    for value in (None, True, False, 3, 3.0, 0.5, "png", "never", "3", [], {}, [3], {"a": 1}):
        if name != "seed" or value is not None:  # the seed None is one that is not given
            assert allowed(name, value) == validator.is_valid(value), value


def test_bounds_of_texts_and_lists_are_the_parsers() -> None:
    assert SCHEMAS["prompt"]["maxLength"] == MAX_PROMPT
    assert SCHEMAS["caption"]["maxLength"] == MAX_CHARACTERS
    assert SCHEMAS["InstancesRequest"]["properties"]["instances"]["maxItems"] == SETTINGS.max_photos
    assert SCHEMAS["Replies"]["maxItems"] == SETTINGS.max_photos
    for name in ("num_beams", "num_captions", "max_new_tokens"):
        assert SCHEMAS[name]["maximum"] == SETTINGS.limits[name]


def test_errors_are_those_of_the_handler() -> None:
    error = SCHEMAS["Failure"]["properties"]["error"]["properties"]
    known = [*CLIENT_ERRORS.values(), INTERNAL]
    assert set(error["code"]["enum"]) == {status.value for status, _ in known}
    assert set(error["type"]["enum"]) == {kind for _, kind in known}
    for operation in DOCUMENT["paths"].values():
        told = {int(code) for code in operation["post"]["responses"]}
        assert told == {200, 503} | {status.value for status, _ in CLIENT_ERRORS.values()}


def tensors(*data: str) -> dict[str, object]:
    return {"inputs": [{"name": "a", "datatype": "BYTES", "shape": [len(data)], "data": list(data)}]}


PHOTO = as_base64(0)
WORDLESS = {"do_sample": True, "seed": 3, "temperature": 3, "max_new_tokens": 1, "min_new_tokens": 0}
"""Draws a comma alone."""
EXAMPLES: list[tuple[str, str, dict[str, object]]] = [
    ("/predictions/captioner", "200", body(0)),
    ("/predictions/captioner", "200", {"body": {"image": PHOTO, "timings": True, "prompt": "a"}}),
    ("/explanations/captioner", "200", {"body": {"image": PHOTO, "form": "png", "timings": True}}),
    ("/explanations/captioner", "200", {"body": {"image": PHOTO, "form": "grid"}}),
    ("/explanations/captioner", "200", {"body": {"image": PHOTO, "form": "values", **WORDLESS}}),
    ("/explanations/captioner", "200", {"body": {"image": PHOTO, "form": "values"}}),
    ("/v1/models/captioner:predict", "200", {"body": {"instances": [PHOTO, "***"]}}),
    ("/v1/models/captioner:explain", "200", {"body": {"instances": [PHOTO], "form": "values"}}),
    ("/v2/models/captioner/infer", "200", {"body": {**tensors(PHOTO, "***"), "id": "7"}}),
    ("/v2/models/captioner/explain", "200", {"body": tensors(PHOTO)}),
    ("/predictions/captioner", "400", {}),
    ("/v1/models/captioner:predict", "400", {"body": {"instances": ["***"]}}),
    ("/v2/models/captioner/infer", "400", {"body": tensors("***")}),
    ("/predictions/captioner", "413", {"body": {"image": as_base64(0, (200, 200))}}),
    ("/predictions/captioner", "415", {"body": bytearray(b"no photo")}),
    ("/predictions/captioner", "422", {"body": {"image": PHOTO, "num_beams": 99}}),
]


@pytest.mark.parametrize(("path", "code", "item"), EXAMPLES)
def test_replies_are_as_described(
    handler: CaptionerHandler, new_context: NewContext, path: str, code: str, item: dict[str, object]
) -> None:
    operation = DOCUMENT["paths"][path]["post"]
    response = operation["responses"][code]
    if "$ref" in response:
        response = DOCUMENT["components"]["responses"][response["$ref"].split("/")[-1]]
    schema = response["content"]["application/json"]["schema"]
    validator = Draft202012Validator({**schema, "components": DOCUMENT["components"]})
    explain = "True" if "expl" in path else "False"
    [(status, reply)] = ask(handler, new_context, [item], explain=explain)
    assert str(status) == code
    errors = [error.message for error in validator.iter_errors(reply)]
    assert errors == []
    assert not validator.is_valid({**reply, "extra": 1})
    if "body" in item and isinstance(item["body"], dict) and code in ("200", "413", "415"):
        request = operation["requestBody"]["content"]["application/json"]["schema"]
        asked = Draft202012Validator({**request, "components": DOCUMENT["components"]})
        assert [error.message for error in asked.iter_errors(json.loads(json.dumps(item["body"])))] == []
