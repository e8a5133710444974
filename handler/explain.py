"""Captions of a batch → heatmaps for those that ask for them, within the time that a batch has for it."""

import base64
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from handler.errors import Busy, ReplyTooLarge
from handler.photo import ExplanationRequest, PhotoResult, PreparedPhoto, milliseconds
from handler.settings import Settings
from model.captioner import Captioner
from model.explain.bounds import GRADIENT_STEPS, ExplainBounds
from model.explain.explainer import Explainer
from model.explain.explanation import Explanation
from model.explain.render import TooFewBytes, grid, overlays

PICTURE_SHARE = 0.6
"""Part of a reply's bytes that pictures may take: base64 makes a third more of them."""


def explain(
    captioner: Captioner,
    photos: Sequence[PreparedPhoto],
    results: Sequence[PhotoResult | Exception],
    settings: Settings,
) -> list[PhotoResult | Exception]:
    """Add explanations to results, one by one.

    None begins when `explain_seconds` have gone into others, and its photo gets Busy: captions wait
    for them.
    """
    explained: list[PhotoResult | Exception] = []
    spent = 0.0  # ms
    for photo, result in zip(photos, results, strict=True):
        if isinstance(result, Exception) or photo.request.explanation is None:
            explained.append(result)
            continue
        if spent > 1000 * settings.explain_seconds:
            explained.append(Busy("other explanations have taken the time there is: send it again"))
            continue
        began = time.perf_counter()
        try:
            explained.append(explain_one(captioner, photo, photo.request.explanation, result, settings))
        except Exception as error:
            explained.append(error)
        spent += milliseconds(began)  # of those that fail, too
    return explained


def explain_one(
    captioner: Captioner,
    photo: PreparedPhoto,
    wanted: ExplanationRequest,
    result: PhotoResult,
    settings: Settings,
) -> PhotoResult:
    """Explain the best caption of a photo, or the client's own, which becomes the result's."""
    began = time.perf_counter()
    explainer = Explainer(captioner, bounds(settings, photo.sharers))
    captions = result.captions
    if wanted.caption is not None:
        penalty = photo.request.options.length_penalty
        captions = (explainer.given(photo.pixels, wanted.caption, penalty),)
    found = explainer.explain(photo.pixels, captions[0], wanted.method)
    body = explanation_body(found, photo, wanted, picture_bytes(settings, photo.sharers))
    timings = replace(result.timings, explain=milliseconds(began))
    return PhotoResult(captions, timings, body)


def bounds(settings: Settings, sharers: int) -> ExplainBounds:
    """Divide what explanations may cost among the photos of a request that are to be explained."""
    passes = max(GRADIENT_STEPS, settings.explain.max_passes // sharers)
    return ExplainBounds(settings.explain.max_words, passes, settings.explain_seconds)


def picture_bytes(settings: Settings, sharers: int) -> int:
    """Divide the bytes of a reply's pictures among the photos that are to be explained."""
    return int(PICTURE_SHARE * settings.max_reply_bytes) // sharers


def explanation_body(
    explanation: Explanation, photo: PreparedPhoto, wanted: ExplanationRequest, most_bytes: int
) -> dict[str, Any]:
    """Describe the heatmaps of a photo in the form that is wanted.

    `values`: numbers, a grid a word. `png`: the photo with a word's heat, a PNG a word. `grid`:
    one PNG with all of them. Files are base64 of at most `most_bytes`. Raises ReplyTooLarge where
    the smallest pictures have more.
    """
    body = {"form": wanted.form, **explanation.to_dict(photo.size)}
    if wanted.form == "values":
        return body
    assert photo.picture is not None  # of a photo that is to be explained, one was kept
    for heatmap in body["heatmaps"]:
        del heatmap["values"]
    try:
        if wanted.form == "grid":
            body["png"] = encoded(grid(photo.picture, explanation, most_bytes))
            return body
        pictures = overlays(photo.picture, explanation, most_bytes)
    except TooFewBytes:
        raise ReplyTooLarge("the reply has no room for pictures: ask for fewer photos, or values") from None
    for heatmap, png in zip(body["heatmaps"], pictures, strict=True):
        heatmap["png"] = encoded(png)
    return body


def encoded(data: bytes) -> str:
    """Write bytes as base64."""
    return base64.b64encode(data).decode("ascii")
