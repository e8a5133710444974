"""Replies as dataclasses, and that they, the options and the errors are those of the server."""

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import captioner_client
import pytest
import yaml
from captioner_client import (
    Caption,
    Client,
    Explanation,
    Grid,
    Heatmap,
    Model,
    Options,
    Reply,
    Size,
    Timings,
    Token,
    UnexpectedReply,
    Word,
)
from captioner_client.errors import PHOTO_ERRORS

from handler.errors import CLIENT_ERRORS, INTERNAL
from handler.parse.fields import FIELDS
from model.search.option import Kind
from tests.clients.conftest import Asker
from tests.clients.misbehaving import Misbehaving, photo_reply, says

OPENAPI = Path(__file__).parents[2] / "handler" / "openapi.yaml"
SCHEMAS = yaml.safe_load(OPENAPI.read_text(encoding="utf-8"))["components"]["schemas"]
FULL: dict[str, Any] = {
    "caption": "a dog",
    "score": -1,
    "captions": [
        {
            "caption": "a dog",
            "score": -1.0,
            "tokens": [{"text": " a", "logprob": -0.5}, {"text": " dog", "logprob": -0.25}],
            "words": [{"text": "dog", "start": 2, "end": 5, "tokens": [1], "logprob": -0.25}],
        }
    ],
    "explanation": {
        "form": "png",
        "method": "occlusion",
        "meaning": "how far it falls",
        "photo": {"width": 40, "height": 30},
        "grid": {"rows": 1, "columns": 2, "patch_width": 20, "patch_height": 30.5},
        "heatmaps": [
            {"word": "dog", "start": 2, "end": 5, "logprob": -0.25, "png": "iVBORw=="},
            {"word": "dog", "start": 2, "end": 5, "logprob": -0.25, "values": [[0, 0.5]]},
        ],
        "words_left_out": 1,
    },
    "timings": {"decode": 1, "encode": 2.5, "generate": 3, "explain": 0},
    "model": {"name": "captioner", "version": "1.0"},
    "something_new": 1,
}
EXPECTED = Reply(
    "a dog",
    -1.0,
    (Caption("a dog", -1.0, (Token(" a", -0.5), Token(" dog", -0.25)), (Word("dog", 2, 5, (1,), -0.25),)),),
    Model("captioner", "1.0"),
    Explanation(
        "png",
        "occlusion",
        "how far it falls",
        Size(40, 30),
        Grid(1, 2, 20.0, 30.5),
        (
            Heatmap("dog", 2, 5, -0.25, b"\x89PNG"),
            Heatmap("dog", 2, 5, -0.25, None, ((0.0, 0.5),)),
        ),
        1,
    ),
    Timings(1.0, 2.5, 3.0, 0.0),
)


def test_a_reply_is_read_whole(server: Misbehaving, asker: Asker) -> None:
    server.plans = [says(200, FULL)]
    assert asker.caption(server.url, b"a dog") == EXPECTED


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"caption": None}, "reply.caption is NoneType, not str"),
        ({"score": True}, "reply.score is bool, not float"),
        ({"captions": [{"caption": ""}]}, r"reply.captions\[0\].score is missing"),
        ({"captions": {}}, "reply.captions is dict"),
        ({"explanation": {**FULL["explanation"], "png": "%"}}, "reply.explanation.png is no base64"),
    ],
)
def test_what_is_no_reply_is_told_by_its_place(
    change: dict[str, object], message: str, server: Misbehaving, asker: Asker
) -> None:
    server.plans = [says(200, FULL | change)]
    with pytest.raises(UnexpectedReply, match=message):
        asker.caption(server.url, b"a dog")


@pytest.mark.parametrize("predictions", [[photo_reply("a")], [1, 2], [{"error": 1}] * 2, "x"])
def test_so_is_what_is_no_list_of_them(predictions: object, server: Misbehaving, asker: Asker) -> None:
    server.plans = [says(200, {"predictions": predictions, "model": FULL["model"]})]
    with pytest.raises(UnexpectedReply):
        asker.caption_many(server.url, [b"1", b"2"])


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (Token, SCHEMAS["Token"]),
        (Word, SCHEMAS["Word"]),
        (Caption, SCHEMAS["Caption"]),
        (Timings, SCHEMAS["Timings"]),
        (Heatmap, SCHEMAS["Heatmap"]),
        (Explanation, SCHEMAS["Explanation"]),
        (Size, SCHEMAS["Explanation"]["properties"]["photo"]),
        (Grid, SCHEMAS["Explanation"]["properties"]["grid"]),
        (Model, SCHEMAS["Model"]),
        (Reply, SCHEMAS["PhotoReply"]),
    ],
)
def test_replies_have_the_servers_fields(kind: type, schema: dict[str, Any]) -> None:
    assert {field.name for field in fields(kind)} == schema["properties"].keys()
    required = {field.name for field in fields(kind) if field.default is MISSING}
    assert required - {"model"} == set(schema["required"]) - {"model"}  # beside the replies of several


def test_options_are_the_servers() -> None:
    kinds = {Kind.INTEGER: int, Kind.NUMBER: float, Kind.BOOLEAN: bool, Kind.TEXT: str}
    hints = get_type_hints(Options)
    assert hints.keys() == FIELDS.keys() - {"explain"}
    for name, hint in hints.items():
        kind, choices = hint, ()
        if get_origin(hint) is Union:
            kind, literal = get_args(hint)
            choices = get_args(literal)
        elif get_origin(hint) is Literal:
            kind, choices = str, get_args(hint)
        assert (kinds[FIELDS[name].kind], FIELDS[name].choices) == (kind, choices), name


def test_errors_are_the_servers() -> None:
    told = {kind for _, kind in (*CLIENT_ERRORS.values(), INTERNAL)}
    assert (
        PHOTO_ERRORS.keys()
        == told
        == set(SCHEMAS["Failure"]["properties"]["error"]["properties"]["type"]["enum"])
    )


def test_the_tree_of_errors_is_as_drawn() -> None:
    """Two spaces a level; the names are in the order of the file, below a parent that is drawn above them."""
    parents: list[str] = ["Exception"]
    drawn = {}
    for line in (captioner_client.errors.__doc__ or "").splitlines():
        mark, _, rest = line.strip().partition(" ")
        if mark in ("*", "x", "+"):
            depth = "*x+".index(mark) + 1
            drawn[rest.split()[0]] = parents[depth - 1]
            parents[depth:] = [rest.split()[0]]
    real = {
        name: kind.__mro__[1].__name__
        for name, kind in vars(captioner_client.errors).items()
        if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert drawn == real
    assert drawn.keys() <= set(captioner_client.__all__)


def test_where_requests_go(server: Misbehaving, asker: Asker) -> None:
    asker.caption(f"{server.url}/", b"a dog")
    asker.caption(server.url, b"a dog", {"model": "blip/2", "version": "1.1"})
    assert [one.path for one in server.received] == ["/predictions/captioner", "/predictions/blip%2F2/1.1"]
    assert server.received[0].agent == f"captioner-client/{captioner_client.__version__}"


def test_a_server_needs_a_scheme_and_a_time_limit_some_time() -> None:
    with pytest.raises(ValueError, match=r"url: '127\.0\.0\.1:8080' does not begin with http"):
        Client("127.0.0.1:8080")
    with pytest.raises(ValueError, match=r"timeout: 0 is not more than 0 s"):
        Client("http://127.0.0.1:8080", timeout=0)
