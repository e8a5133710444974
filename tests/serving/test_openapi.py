"""Requests that schemathesis makes up from the OpenAPI document, valid and not, to a real server."""

import base64
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from serving.temporary import Server
from tests.serving.conftest import ROOT
from tests.tiny import photo

TEXT = (ROOT / "handler" / "openapi.yaml").read_text(encoding="utf-8")
DOCUMENT = yaml.safe_load(TEXT.replace("/captioner", "/tiny"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
PHOTOS = [photo(seed) for seed in range(3)] + [photo(0, encoding="JPEG")]
GOOD = st.sampled_from(PHOTOS)
BAD = st.binary(max_size=60) | GOOD.map(lambda data: data[: len(data) // 2])


def schema_with_photos() -> schemathesis.BaseSchema:
    """The document, with real photos for most of what it says is a photo."""
    schemathesis.openapi.format("binary", st.one_of(GOOD, GOOD, BAD))
    as_text = st.one_of(GOOD, GOOD, BAD.filter(bool)).map(lambda data: base64.b64encode(data).decode())
    schemathesis.openapi.format("photo", as_text | as_text.map("data:image/png;base64,{}".format))
    DOCUMENT["components"]["schemas"]["Image"]["format"] = "photo"
    return schemathesis.openapi.from_dict(DOCUMENT)


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_every_reply_is_one_that_is_described(server: Server, path: str, mode: GenerationMode) -> None:
    statuses = set()

    @settings(
        max_examples=8,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema_with_photos()[path]["POST"].as_strategy(generation_mode=mode))
    def ask(case: Case[Any]) -> None:
        response = case.call(base_url=server.config.inference.url, headers=server.headers(), timeout=60)
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    ask()
    assert (200 if mode is GenerationMode.POSITIVE else 400) in statuses
