"""Every form of request through a real server: options, several photos, KServe's protocols, explanations."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from model.captioner import Captioner
from serving.client import caption_over_grpc, caption_over_http
from serving.temporary import Server
from tests.serving.test_predictions import ask_grpc
from tests.tiny import photo

FIELDS = {
    "num_beams": "4",
    "num_captions": "4",
    "max_new_tokens": "7",
    "prompt": "a",
    "early_stopping": "never",
}
OPTIONS: dict[str, object] = FIELDS | {"num_beams": 4, "num_captions": 4, "max_new_tokens": 7}
SAMPLING = {"do_sample": "true", "seed": "7", "num_captions": "2"}


def as_base64(seed: int) -> str:
    return base64.b64encode(photo(seed)).decode()


def post(
    server: Server,
    path: str,
    *,
    headers: dict[str, str] | None = None,
    data: bytes | str | dict[str, str] | None = None,
    json: object = None,
    files: dict[str, bytes] | None = None,
    params: dict[str, str] | None = None,
) -> requests.Response:
    return requests.post(
        f"{server.config.inference.url}{path}",
        headers=server.headers() | (headers or {}),
        timeout=60,
        data=data,
        json=json,
        files=files,
        params=params,
    )


def test_options_come_by_json_multipart_headers_query_and_grpc(server: Server, captioner: Captioner) -> None:
    options = captioner.options.replace(num_beams=4, num_captions=4, max_new_tokens=7, early_stopping="never")
    [expected] = captioner.caption([captioner.preprocess(photo(0))], options, prompt="a")
    headers = {f"X-Caption-{name.replace('_', '-').title()}": value for name, value in FIELDS.items()}
    lower = {name.lower(): value for name, value in headers.items()}
    path = "/predictions/tiny"
    replies = [
        post(server, path, json={"image": as_base64(0), "options": OPTIONS}).json(),
        post(server, path, json={"image": f"data:image/png;base64,{as_base64(0)}", **OPTIONS}).json(),
        post(server, path, data=json.dumps({"image": as_base64(0), "options": OPTIONS})).json(),
        post(server, path, data=FIELDS, files={"image": photo(0)}).json(),
        post(server, path, data={"options": json.dumps(OPTIONS)}, files={"image": photo(0)}).json(),
        post(server, path, data=photo(0), headers=headers).json(),
        post(server, path, data=photo(0), headers=lower).json(),
        post(server, "/tiny/predict", data=photo(0), params=FIELDS).json(),
        post(server, "/invocations", data=photo(0), params={"model_name": "tiny", **FIELDS}).json(),
        ask_grpc(server, {"image": photo(0)} | {name: value.encode() for name, value in FIELDS.items()}),
        ask_grpc(server, {"body": json.dumps({"image": as_base64(0), "options": OPTIONS}).encode()}),
        caption_over_http(photo(0), "tiny", server.config.inference, server.key(), FIELDS),
        caption_over_grpc(photo(0), "tiny", server.config.grpc_inference, server.key(), FIELDS),
    ]
    assert [caption["caption"] for caption in replies[0]["captions"]] == [
        caption.text for caption in expected
    ]
    for reply in replies:
        assert reply == replies[0]


def test_a_seed_gives_the_same_caption_in_any_batch(server: Server, captioner: Captioner) -> None:
    options = captioner.options.replace(do_sample=True, seed=7, num_captions=2)
    [expected] = captioner.caption([captioner.preprocess(photo(3))], options)

    def ask(fields: dict[str, str]) -> list[str]:
        reply = post(server, "/predictions/tiny", data=fields, files={"image": photo(3)}).json()
        return [caption["caption"] for caption in reply["captions"]]

    others = [SAMPLING | {"seed": str(seed)} for seed in range(5)]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(ask, [SAMPLING, *others, SAMPLING, {"num_beams": "2"}]))
    assert replies[0] == replies[6] == [caption.text for caption in expected]
    assert len({tuple(captions) for captions in replies}) > 4


def test_several_photos_are_answered_one_by_one(server: Server, captioner: Captioner) -> None:
    expected = [captioner.caption([captioner.preprocess(photo(seed))])[0][0].text for seed in range(2)]
    body = {"instances": [as_base64(0), {"image": "***"}, {"image": {"b64": as_base64(1)}}]}
    for path in ("/v1/models/tiny:predict", "/predictions/tiny", "/predictions/tiny/1.0"):
        answer = post(server, path, json=body)
        assert answer.status_code == 200
        first, second, third = answer.json()["predictions"]
        assert [first["caption"], third["caption"]] == expected
        assert (second["error"]["code"], second["error"]["field"]) == (400, "instances[1].image")
    answer = post(server, "/v1/models/tiny:predict", json={"instances": ["***", "Z2FyYmFnZQ=="]})
    assert answer.status_code == 400
    assert [one["error"]["code"] for one in answer.json()["predictions"]] == [400, 415]


def tensor(*data: str) -> dict[str, object]:
    return {"name": "photo", "datatype": "BYTES", "shape": [len(data)], "data": list(data)}


def test_tensors_are_answered_with_tensors(server: Server) -> None:
    single = post(server, "/predictions/tiny", data=photo(0)).json()
    body = {"id": "7", "inputs": [tensor(as_base64(0), "***")]}
    answer = post(server, "/v2/models/tiny/infer", json=body)
    assert answer.status_code == 200
    reply = answer.json()
    assert (reply["model_name"], reply["model_version"], reply["id"]) == ("tiny", "1.0", "7")
    caption, score, whole = reply["outputs"]
    assert caption == {"name": "caption", "datatype": "BYTES", "shape": [2], "data": [single["caption"], ""]}
    assert score["data"] == [single["score"], 0.0]
    assert json.loads(whole["data"][0]) == {name: single[name] for name in ("caption", "score", "captions")}
    assert json.loads(whole["data"][1])["error"]["field"] == "inputs[0].data[1]"


def test_each_url_for_explanations_explains(server: Server) -> None:
    values = {"form": "values", "method": "attention"}
    replies = [
        post(server, "/explanations/tiny", data=values, files={"image": photo(0)}).json(),
        post(server, "/explanations/tiny", json={"image": as_base64(0), **values}).json(),
        post(server, "/predictions/tiny", json={"image": as_base64(0), "explain": True, **values}).json(),
        ask_grpc(server, {"image": photo(0), "explain": b"true", "form": b"values", "method": b"attention"}),
    ]
    body: dict[str, object] = {"instances": [{"image": as_base64(0), **values}]}
    replies += post(server, "/v1/models/tiny:explain", json=body).json()["explanations"]
    body = {"inputs": [tensor(as_base64(0))], "parameters": values}
    outputs = post(server, "/v2/models/tiny/explain", json=body).json()["outputs"]
    replies.append(json.loads(outputs[2]["data"][0]))
    assert replies[0]["explanation"]["method"] == "attention"
    assert len(replies[0]["explanation"]["heatmaps"]) > 0
    for reply in replies:
        assert reply["explanation"] == replies[0]["explanation"]
        assert reply["captions"] == replies[0]["captions"]
    assert "explanation" not in post(server, "/predictions/tiny", data=photo(0)).json()


def test_explanations_and_captions_share_a_batch(server: Server) -> None:
    def ask(index: int) -> requests.Response:
        explained = index % 2 == 0
        path = "/explanations/tiny" if explained else "/predictions/tiny"
        data = photo(index)[:60] if index == 4 else photo(index)
        headers = {"X-Caption-Form": "values"} if explained else {}
        return post(server, path, data=data, headers=headers)

    alone = [ask(index) for index in range(8)]
    batches = server.log("model.log").count("Backend received inference")
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, range(8)))
    assert server.log("model.log").count("Backend received inference") - batches < 8
    assert [one.status_code for one in together] == [200, 200, 200, 200, 415, 200, 200, 200]
    for index, (one, other) in enumerate(zip(alone, together, strict=True)):
        assert one.json().keys() == other.json().keys()
        if index != 4:
            assert ("explanation" in one.json()) == (index % 2 == 0)
            assert one.json()["caption"] == other.json()["caption"]


@pytest.mark.parametrize("size", [(1, 1), (4000, 30), (2500, 2500)])
@pytest.mark.parametrize("form", ["png", "grid", "values"])
def test_an_explanation_is_small_whatever_the_photos_size(
    server: Server, form: str, size: tuple[int, int]
) -> None:
    fields = {"form": form, "method": "attention", "max_new_tokens": "16", "min_new_tokens": "16"}
    answer = post(server, "/explanations/tiny", data=fields, files={"image": photo(0, size)})
    assert answer.status_code == 200
    assert len(answer.content) < 5_000_000
    assert answer.json()["explanation"]["photo"] == {"width": size[0], "height": size[1]}


@pytest.mark.parametrize(
    ("arguments", "code", "field", "said"),
    [
        ({"json": {"image": as_base64(0), "options": {"num_beams": 17}}}, 422, "num_beams", "17 is not an"),
        ({"json": {"image": as_base64(0), "num_beans": 1}}, 400, "num_beans", "did you mean num_beams?"),
        ({"json": {"image": "https://example.org/a.jpg"}}, 400, "image", "none is fetched"),
        ({"json": {"instances": [as_base64(0)] * 9}}, 400, "instances", "at most 8"),
        ({"data": b'{"image": '}, 400, "body", "not valid JSON"),
        ({"data": photo(0), "headers": {"X-Caption-Num-Beams": "many"}}, 422, "num_beams", "'many' is not"),
        ({"data": photo(0), "headers": {"X-Caption-Beams": "1"}}, 400, "beams", "did you mean num_beams?"),
        ({"data": {"top_p": "2"}, "files": {"image": photo(0)}}, 422, "top_p", "2.0 is not a number from"),
    ],
)
def test_what_is_wrong_is_named(
    server: Server, arguments: dict[str, Any], code: int, field: str, said: str
) -> None:
    answer = post(server, "/predictions/tiny", **arguments)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (code, code, field)
    assert said in error["message"]
    if "json" in arguments:
        over_grpc = ask_grpc(server, {"body": json.dumps(arguments["json"]).encode()})
        assert over_grpc["error"] == error


def test_timings_add_up_to_less_than_the_wait(server: Server) -> None:
    answer = post(server, "/predictions/tiny", data=photo(0), headers={"X-Caption-Timings": "true"})
    assert 0 < sum(answer.json()["timings"].values()) < 1000 * answer.elapsed.total_seconds()


def test_the_worker_survived_and_kept_quiet(server: Server) -> None:
    """Last of this file."""
    post(server, "/predictions/tiny", json={"image": as_base64(0), "prompt": "a secret"})
    log = server.log("model.log")
    assert log.count("Torch worker started.") == 1
    assert "Backend worker process died." not in log
    assert "secret" not in log
