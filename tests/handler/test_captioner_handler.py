import json
import logging
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from handler.captioner_handler import CaptionerHandler
from model.captioner import Caption
from model.search.options import GenerationOptions
from tests.handler.conftest import Item, NewContext, as_base64, ask, body
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


def test_timings_are_told_where_asked_for(handler: CaptionerHandler, new_context: NewContext) -> None:
    (_, without), (_, reply) = ask(handler, new_context, [body(0), body(1) | {"timings": b"true"}])
    assert "timings" not in without
    assert reply["timings"].keys() == {"decode", "encode", "generate", "explain"}
    assert all(reply["timings"][name] > 0 for name in ("decode", "encode", "generate"))
    assert reply["timings"]["explain"] == 0


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
