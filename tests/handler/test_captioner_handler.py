import base64
import io
import json
import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from handler.captioner_handler import CaptionerHandler
from model.captioner import Caption
from model.errors import OptionError
from model.explain.explainer import Explainer
from model.explain.explanation import Explanation, Method
from model.image import MAX_SCANS
from model.search.options import GenerationOptions
from tests.handler.conftest import ORIGIN, Item, NewContext, as_base64, ask, body
from tests.model.test_jpeg import with_scans
from tests.tiny import photo


def test_a_reply_holds_what_the_engine_says(handler: CaptionerHandler, new_context: NewContext) -> None:
    [(status, reply)] = ask(handler, new_context, [body(0)])
    [expected] = handler.captioner.caption([handler.captioner.preprocess(photo(0))])
    assert status == 200
    assert [caption["caption"] for caption in reply["captions"]] == [caption.text for caption in expected]
    assert reply["captions"][0]["tokens"] == [
        {"text": token.text, "logprob": token.logprob} for token in expected[0].tokens
    ]
    assert (reply["caption"], reply["score"]) == (expected[0].text, expected[0].score)
    assert reply["model"] == {"name": "tiny", "version": "2.1"}


def test_each_item_fails_alone(handler: CaptionerHandler, new_context: NewContext) -> None:
    batch: list[dict[str, object]] = [
        body(1),
        {"body": bytearray(b"no photo")},
        {},
        {"image": bytearray(photo(0, (200, 200)))},
        body(2),
    ]
    replies = ask(handler, new_context, batch)
    assert [status for status, _ in replies] == [200, 415, 400, 413, 200]
    assert [reply.get("error", {}).get("code") for _, reply in replies] == [None, 415, 400, 413, None]
    assert [replies[0][1]["caption"], replies[4][1]["caption"]] == [
        ask(handler, new_context, [body(seed)])[0][1]["caption"] for seed in (1, 2)
    ]


def test_a_batch_equals_singles(handler: CaptionerHandler, new_context: NewContext) -> None:
    singles = [ask(handler, new_context, [body(seed)])[0][1] for seed in range(32)]
    together = [reply for _, reply in ask(handler, new_context, [body(seed) for seed in range(32)])]
    assert len({reply["caption"] for reply in singles}) > 16  # the photos do differ
    for one, other in zip(singles, together, strict=True):
        assert [c["caption"] for c in one["captions"]] == [c["caption"] for c in other["captions"]]
        assert one["score"] == pytest.approx(other["score"], rel=1e-4)


def test_the_photos_of_a_batch_share_one_run_of_the_encoder(
    handler: CaptionerHandler, new_context: NewContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded, generated = [], []
    encode, generate = handler.captioner.encode, handler.captioner.generate

    def count_photos(photos: Sequence[Tensor]) -> Tensor:
        encoded.append(len(photos))
        return encode(photos)

    def count_tokens(
        image_tokens: Tensor, options: GenerationOptions, prompt: str
    ) -> list[tuple[Caption, ...]]:
        generated.append(len(image_tokens))
        return generate(image_tokens, options, prompt)

    monkeypatch.setattr(handler.captioner, "encode", count_photos)
    monkeypatch.setattr(handler.captioner, "generate", count_tokens)
    several: Item = {"body": {"instances": [as_base64(3), {"image": as_base64(4), "num_beams": 2}]}}
    seeded = [body(seed) | {"do_sample": b"true", "seed": str(seed)} for seed in (5, 6)]
    ask(handler, new_context, [body(0), {}, body(1), several, *seeded])
    assert encoded == [4, 1, 1]  # a sample with a seed goes alone
    assert sorted(generated) == [1, 1, 1, 3]  # other options are decoded apart
    ask(handler, new_context, [{}, {}])
    assert encoded == [4, 1, 1]


ASKED: list[dict[str, object]] = [
    {},
    {"num_beams": 1, "num_captions": 1},
    {"num_beams": 4, "num_captions": 4},
    {"prompt": "a dog", "max_new_tokens": 6},
    {"do_sample": True, "seed": 1},
    {"do_sample": True, "seed": 2},
    {"do_sample": True, "seed": 2, "temperature": 3.0, "num_captions": 3},
    {"repetition_penalty": 2.0, "length_penalty": -1.0},
    {"explain": True, "method": "attention", "form": "values"},
    {"explain": True, "method": "occlusion", "form": "values", "num_beams": 2},
    {"explain": True, "method": "attention", "form": "values", "caption": "a dog runs"},
]


def test_each_photo_gets_what_it_would_have_got_alone(
    handler: CaptionerHandler, new_context: NewContext
) -> None:
    items: list[Item] = [
        {"body": {"image": as_base64(seed), "options": options}} for seed in (0, 1) for options in ASKED
    ]
    items.insert(5, {"body": {"image": as_base64(7), "options": {"num_beams": 99}}})
    items.insert(9, body(8) | {"body": bytearray(b"no photo")})
    alone = [ask(handler, new_context, [item])[0] for item in items]
    together = ask(handler, new_context, items)
    assert [status for status, _ in together] == [status for status, _ in alone]
    assert [together[5][0], together[9][0]] == [422, 415]
    for (_, one), (_, other) in zip(alone, together, strict=True):
        assert one.keys() == other.keys()
        if "error" in one:
            continue
        assert [c["caption"] for c in one["captions"]] == [c["caption"] for c in other["captions"]]
        scores = [[caption["score"] for caption in reply["captions"]] for reply in (one, other)]
        assert scores[0] == pytest.approx(scores[1], rel=1e-4)
        if "explanation" in one:
            grids = [[h["values"] for h in body["explanation"]["heatmaps"]] for body in (one, other)]
            torch.testing.assert_close(torch.tensor(grids[0]), torch.tensor(grids[1]), atol=1e-4, rtol=0)
    assert len({reply["caption"] for _, reply in together if "caption" in reply}) > 12


def test_the_answer_takes_the_form_of_the_request(handler: CaptionerHandler, new_context: NewContext) -> None:
    [(_, single)] = ask(handler, new_context, [body(0)])
    model = single.pop("model")
    photo = as_base64(0)
    [(_, instances)] = ask(handler, new_context, [{"body": {"instances": [photo, "***", photo]}}])
    assert instances["model"] == model
    first, second, third = instances["predictions"]
    assert (first["caption"], third["caption"]) == (single["caption"],) * 2
    assert second["error"] | {"message": ""} == {
        "code": 400,
        "type": "bad_request",
        "message": "",
        "field": "instances[1]",
    }
    tensor = {"name": "photos", "datatype": "BYTES", "shape": [1], "data": [photo]}
    [(_, infer)] = ask(handler, new_context, [{"body": {"inputs": [tensor], "id": "x"}}])
    assert (infer["model_name"], infer["model_version"], infer["id"]) == ("tiny", "2.1", "x")
    assert infer["outputs"][0]["data"] == [single["caption"]]
    assert json.loads(infer["outputs"][2]["data"][0]).keys() == single.keys()


@pytest.mark.parametrize("form", ["png", "grid", "values"])
@pytest.mark.parametrize("method", ["occlusion", "attention", "integrated_gradients"])
def test_explanations_come_in_each_form(
    handler: CaptionerHandler, new_context: NewContext, form: str, method: str
) -> None:
    item = body(0) | {"method": method.encode(), "form": form.encode(), "num_captions": b"1"}
    [(status, reply)] = ask(handler, new_context, [item], explain="True")
    assert status == 200
    explanation = reply["explanation"]
    assert (explanation["method"], explanation["form"]) == (method, form)
    assert explanation["photo"] == {"width": 48, "height": 40}
    words = {(word["text"], word["start"], word["end"]) for word in reply["captions"][0]["words"]}
    found = explanation["heatmaps"]
    assert found
    assert {(one["word"], one["start"], one["end"]) for one in found} <= words
    if form == "values":
        grid = explanation["grid"]
        assert {np.array(one["values"]).shape for one in found} == {(grid["rows"], grid["columns"])}
        return
    files = [explanation["png"]] if form == "grid" else [one["png"] for one in found]
    for file in files:
        picture = Image.open(io.BytesIO(base64.b64decode(file)))
        assert picture.format == "PNG"
        assert form == "grid" or picture.size == (224, 187)


def test_a_clients_own_caption_is_explained(handler: CaptionerHandler, new_context: NewContext) -> None:
    item: Item = {"body": {"image": as_base64(0), "explain": True, "caption": "a dog runs", "timings": True}}
    [(status, reply)] = ask(handler, new_context, [item])
    assert status == 200
    assert reply["caption"] == "a dog runs"
    assert [one["word"] for one in reply["explanation"]["heatmaps"]] == ["a", "dog", "runs"]
    assert reply["timings"]["generate"] == reply["timings"]["encode"] == 0
    assert reply["timings"]["explain"] > 0


def test_a_given_caption_is_scored_with_the_archives_length_penalty(new_context: NewContext) -> None:
    handler = CaptionerHandler()
    handler.initialize(new_context({"maxWorkers": 1, "captioner": {"options": {"length_penalty": 0.0}}}))
    item: Item = {"body": {"image": as_base64(0), "explain": True, "form": "values", "caption": "a dog"}}
    [(status, reply)] = ask(handler, new_context, [item])
    assert status == 200
    total = sum(token["logprob"] for token in reply["captions"][0]["tokens"])
    assert reply["score"] == pytest.approx(total)


@pytest.mark.parametrize("caption", ["", "...", "x" * 2000, "a dog " * 40, "\ud800"])
def test_a_caption_that_cannot_be_explained_is_refused(
    handler: CaptionerHandler, new_context: NewContext, caption: str
) -> None:
    item: Item = {"body": {"image": as_base64(0), "explain": True, "caption": caption}}
    [(status, reply), (other, _)] = ask(handler, new_context, [item, body(1)])
    assert (status, other) == (422, 200)
    assert reply["error"]["field"] == "caption"


@pytest.mark.parametrize("prompt", ["a dog " * 40, "x" * 10_000_000, "\ud800", "\x00" * 15])
def test_a_prompt_that_cannot_be_continued_is_refused(
    handler: CaptionerHandler, new_context: NewContext, prompt: str
) -> None:
    item: Item = {"body": {"image": as_base64(0), "prompt": prompt}}
    [(status, reply), (other, _)] = ask(handler, new_context, [item, body(1)])
    assert (status, other) == (422, 200)
    assert reply["error"]["field"] in ("prompt", "max_new_tokens")
    assert len(reply["error"]["message"]) < 300


def test_timings_are_told_where_asked_for(handler: CaptionerHandler, new_context: NewContext) -> None:
    (_, without), (_, reply) = ask(handler, new_context, [body(0), body(1) | {"timings": b"true"}])
    assert "timings" not in without
    assert reply["timings"].keys() == {"decode", "encode", "generate", "explain"}
    assert all(reply["timings"][name] > 0 for name in ("decode", "encode", "generate"))
    assert reply["timings"]["explain"] == 0


def test_the_pixels_of_a_request_are_counted_together(
    handler: CaptionerHandler, new_context: NewContext
) -> None:
    photos = [as_base64(seed, (60, 60)) for seed in range(3)]
    (status, reply), (other, _) = ask(
        handler, new_context, [{"body": {"instances": photos}}, {"body": {"instances": photos[:2]}}]
    )
    assert (status, other) == (200, 200)
    first, second, third = reply["predictions"]
    assert "caption" in first
    assert "caption" in second
    assert third["error"]["code"] == 413
    assert "10000 pixels together" in third["error"]["message"]
    assert third["error"]["field"] == "instances[2]"


def test_a_reply_that_would_end_the_worker_is_not_sent(new_context: NewContext) -> None:
    handler = CaptionerHandler()
    handler.initialize(new_context({"maxWorkers": 1, "captioner": {"max_reply_bytes": 3000}}))
    items: list[Item] = [{"body": {"instances": [as_base64(0)] * 8}}, body(0)]
    (status, reply), (other, _) = ask(handler, new_context, items)
    assert (status, other) == (422, 200)
    assert reply["error"]["type"] == "reply_too_large"


@pytest.mark.parametrize("form", ["png", "grid"])
def test_pictures_that_no_reply_has_room_for_are_refused(new_context: NewContext, form: str) -> None:
    handler = CaptionerHandler()
    handler.initialize(new_context({"maxWorkers": 1, "captioner": {"max_reply_bytes": 3000}}))
    item: Item = {"body": {"image": as_base64(0), "explain": True, "form": form, "caption": "a b c d e"}}
    (status, reply), (other, _) = ask(handler, new_context, [item, body(1)])
    assert (status, other) == (422, 200)
    assert reply["error"]["type"] == "reply_too_large"


def test_explanations_share_the_passes_of_their_request(
    handler: CaptionerHandler, new_context: NewContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    explain = Explainer.explain

    def note(self: Explainer, photo: Tensor, caption: Caption, method: Method) -> Explanation:
        seen.append(self.bounds.max_passes)
        return explain(self, photo, caption, method)

    monkeypatch.setattr(Explainer, "explain", note)
    plain = {"image": as_base64(1), "explain": False}
    several: Item = {"body": {"instances": [as_base64(0), plain, as_base64(2)], "form": "values"}}
    ((status, reply),) = ask(handler, new_context, [several], explain="True")
    assert seen == [handler.settings.explain.max_passes // 2] * 2
    # The one that is not to be explained was given a form all the same.
    assert [one.get("error", {}).get("code") for one in reply["explanations"]] == [None, 422, None]
    assert status == 200


def test_no_explanation_begins_when_others_have_taken_their_time(
    handler: CaptionerHandler, new_context: NewContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "settings", replace(handler.settings, explain_seconds=0))
    explained = {"explain": b"true", "method": b"attention", "form": b"values"}
    items = [body(0), body(1) | explained, body(2) | explained, body(3)]
    replies = ask(handler, new_context, items)
    assert [status for status, _ in replies] == [200, 200, 503, 200]
    assert replies[2][1]["error"]["type"] == "busy"


def test_a_failing_engine_gives_500_and_the_next_batch_works(
    handler: CaptionerHandler,
    new_context: NewContext,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of luck")

    for name in ("encode", "generate"):
        with monkeypatch.context() as broken, caplog.at_level(logging.ERROR):
            broken.setattr(handler.captioner, name, fail)
            replies = ask(handler, new_context, [body(0), {}, body(1)])
        assert [status for status, _ in replies] == [500, 400, 500]
        assert "out of luck" in caplog.text
        assert "out of luck" not in json.dumps(replies)
        caplog.clear()
    assert ask(handler, new_context, [body(0)])[0][0] == 200


def test_an_error_while_decoding_costs_its_own_group_alone(
    handler: CaptionerHandler, new_context: NewContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = handler.captioner.generate

    def fail_on_two(
        image_tokens: Tensor, options: GenerationOptions, prompt: str
    ) -> list[tuple[Caption, ...]]:
        if options.num_beams == 2:
            raise RuntimeError("a bug")
        return generate(image_tokens, options, prompt)

    monkeypatch.setattr(handler.captioner, "generate", fail_on_two)
    replies = ask(handler, new_context, [body(0), body(1) | {"num_beams": b"2"}, body(2)])
    assert [status for status, _ in replies] == [200, 500, 200]


@pytest.mark.parametrize(
    "place",
    [
        "handler.captioner_handler.parse_request",
        "handler.captioner_handler.prepare",
        "handler.prepare.decode",
        "handler.parse.request.photo_request",
        "handler.reply.photo_body",
        "handler.explain.Explainer",
        "handler.captioner_handler.run",
        "handler.captioner_handler.request_reply",
    ],
)
def test_a_defect_anywhere_gives_500_and_no_exception(
    handler: CaptionerHandler, new_context: NewContext, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(place, fail)
    replies = ask(handler, new_context, [body(0) | {"explain": b"true"}, body(1)], describe="False")
    everywhere = place != "handler.explain.Explainer"
    assert [status for status, _ in replies] == [500, 500 if everywhere else 200]


def test_describe_says_how_captions_are_made(handler: CaptionerHandler, new_context: NewContext) -> None:
    [(status, reply)] = ask(handler, new_context, [{}], describe="True")
    assert status == 200
    assert reply["model"] == {"name": "tiny", "version": "2.1"}
    assert {name: reply[name] for name in ORIGIN} == ORIGIN
    assert reply["options"]["num_beams"] == handler.captioner.options.num_beams
    assert reply["limits"] == handler.settings.described_limits()
    assert reply["runtime"] == {"dtype": "float32", "threads": torch.get_num_threads()}


@pytest.mark.parametrize(
    ("item", "headers"),
    [
        ({"body": bytearray()}, {}),
        ({}, {"content-Type": "multipart/form-data; boundary=x"}),  # a form without fields
        (body(0), {}),
    ],
)
def test_a_client_is_not_told_what_the_operator_is(
    handler: CaptionerHandler, new_context: NewContext, item: Item, headers: dict[str, str]
) -> None:
    [(_, reply)] = ask(handler, new_context, [item], describe="True", **headers)
    assert not reply.keys() & {"limits", "options", "runtime", *ORIGIN}


def test_the_scans_of_a_photo_are_not_blamed_on_the_pixels_of_others(
    handler: CaptionerHandler, new_context: NewContext
) -> None:
    scans = base64.b64encode(with_scans(MAX_SCANS + 1, (10, 10))).decode()
    [(_, reply)] = ask(handler, new_context, [{"body": {"instances": [as_base64(0), scans]}}])
    error = reply["predictions"][1]["error"]
    assert (error["code"], error["type"]) == (413, "image_too_large")
    assert "scans" in error["message"]


def test_nothing_of_a_photo_or_text_is_logged(
    handler: CaptionerHandler, new_context: NewContext, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        items: list[Item] = [
            {"body": {"image": as_base64(0), "prompt": "a secret"}},
            {"body": {"image": "secret"}},
            body(0) | {"prompt": "secret " * 50},
        ]
        replies = ask(handler, new_context, items)
    assert [status for status, _ in replies] == [200, 400, 422]
    assert "secret" not in caplog.text
    assert replies[0][1]["caption"] not in caplog.text


def test_options_of_the_configuration_win(new_context: NewContext) -> None:
    handler = CaptionerHandler()
    handler.initialize(new_context({"maxWorkers": 1, "captioner": {"options": {"num_captions": 1}}}))
    assert handler.captioner.options.num_captions == 2  # the checkpoint's
    [(_, reply)] = ask(handler, new_context, [body(0)])
    assert len(reply["captions"]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [({"beams": 3}, "beams"), ({"max_new_tokens": 99}, "max_new_tokens"), ({"num_beams": 5}, "num_beams")],
)
def test_bad_options_keep_a_worker_from_starting(
    new_context: NewContext, options: dict[str, int], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        CaptionerHandler().initialize(
            new_context({"maxWorkers": 1, "captioner": {"options": options, "limits": {"num_beams": 4}}})
        )


def test_workers_share_the_cores(new_context: NewContext, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    CaptionerHandler().initialize(new_context({"maxWorkers": 2}))
    assert chosen == [4]
