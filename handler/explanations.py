"""An explained caption → the object that a reply holds about it."""

import base64
from typing import Any

from PIL.Image import Image

from handler.errors import ReplyTooLarge
from handler.jobs import Share
from handler.wish import ExplanationWish
from model.explain.explanation import Explanation
from model.explain.render import TooFewBytes, grid, overlays


def explanation_body(
    explanation: Explanation, wish: ExplanationWish, picture: Image, size: tuple[int, int], share: Share
) -> dict[str, Any]:
    """Describe the heatmaps on a photo of `size` (width, height) pixels, in the form that is wanted.

    `values`: numbers, a grid a word. `png`: the photo with a word's heat, a PNG a word. `grid`:
    one PNG with all of them. Files are base64, and take no more bytes than their share. Raises
    ReplyTooLarge where the smallest pictures do.
    """
    body = {"form": wish.form, **explanation.to_dict(size)}
    if wish.form == "values":
        return body
    for heatmap in body["heatmaps"]:
        del heatmap["values"]
    try:
        if wish.form == "grid":
            body["png"] = encoded(grid(picture, explanation, share.picture_bytes))
            return body
        pictures = overlays(picture, explanation, share.picture_bytes)
    except TooFewBytes:
        raise ReplyTooLarge("the reply has no room for pictures: ask for fewer photos, or values") from None
    for heatmap, png in zip(body["heatmaps"], pictures, strict=True):
        heatmap["png"] = encoded(png)
    return body


def encoded(data: bytes) -> str:
    """Write bytes as base64."""
    return base64.b64encode(data).decode("ascii")
