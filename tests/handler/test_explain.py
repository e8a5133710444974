"""Captions with heatmaps, asked for as TorchServe hands requests over."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from handler.captioner_handler import CaptionerHandler
from model.captioner import Caption
from model.explain.explainer import Explainer
from model.explain.explanation import Explanation, Method
from tests.handler.conftest import Item, NewContext, as_base64, ask, body


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
