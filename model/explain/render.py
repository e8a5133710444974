"""Pictures of an explanation: an overlay for each word, or one grid of all of them.

Pictures have a size of their own, whatever the photo's, and a caller can bound their bytes.
"""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from model.explain.explanation import MEANINGS, Explanation

Array = NDArray[np.float32]

OVERLAY_SIDE = 320
"""Longest side of an overlay in pixels."""
TILE_SIDE = 224
"""Side of a grid's tiles in pixels."""
LEAST_SIDE = 32
"""Where pictures this small are still too many bytes, the bound itself is wrong."""
COLUMNS = 4

FAINT = 0.1
"""A word's heat is drawn against its own peak, but at least this part of the caption's highest."""
OPACITY = 0.7
"""Of the strongest heat."""
RAMP = np.array([[128, 0, 160], [230, 30, 30], [255, 160, 0], [255, 255, 80]], dtype=np.float32)
"""Colours of heat 0, 1/3, 2/3 and 1."""


class TooFewBytes(ValueError):
    """The smallest pictures have more bytes than the caller allows."""


def overlays(photo: Image.Image, explanation: Explanation, max_bytes: int | None = None) -> list[bytes]:
    """Draw each word's heat over an upright RGB photo: PNG files, in the order of the heatmaps.

    Together they have at most `max_bytes`, None for any size. They are drawn with a longest side
    of `OVERLAY_SIDE`; as long as they are too large, again with sides that are smaller by the
    root of the excess and a tenth. Raises TooFewBytes for a bound that no picture fits.
    """

    def draw(side: int) -> list[bytes]:
        base = fit(photo, side)
        return [to_png(with_heat(base, heat, explanation.patch)) for heat in heats(explanation)]

    return within(max_bytes, draw, OVERLAY_SIDE)


def grid(photo: Image.Image, explanation: Explanation, max_bytes: int | None = None) -> bytes:
    """Draw one PNG: the photo, then each word's heat with the word below it, row by row.

    `max_bytes` as in `overlays`, with tiles of `TILE_SIDE` at first.
    """
    (png,) = within(max_bytes, lambda side: [to_png(tiles(photo, explanation, side))], TILE_SIDE)
    return png


def within(most: int | None, draw: Callable[[int], list[bytes]], side: int) -> list[bytes]:
    """Return `draw(side)`, with the side reduced until all has at most `most` bytes."""
    while True:
        drawn = draw(side)
        total = sum(map(len, drawn))
        if most is None or total <= most:
            return drawn
        if side == LEAST_SIDE:
            raise TooFewBytes(f"{most} bytes are too few for {len(drawn)} picture(s) of {side} pixels")
        side = max(LEAST_SIDE, int(side * 0.9 * (most / total) ** 0.5))


def heats(explanation: Explanation) -> list[Array]:
    """Return what is drawn of each map: 0 for no evidence or evidence against, 1 for the peak.

    A word that the photo hardly matters for, by its peak beside the caption's highest, stays faint.
    """
    values = [heatmap.values.clamp(min=0) for heatmap in explanation.heatmaps]
    least = FAINT * max((float(one.max()) for one in values), default=0.0)
    return [(one / max(float(one.max()), least, 1e-12)).numpy() for one in values]


def fit(photo: Image.Image, side: int) -> Image.Image:
    """Scale to a longest side of `side` pixels, up as well as down."""
    factor = side / max(photo.size)
    width, height = (max(1, round(length * factor)) for length in photo.size)
    return photo.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)


def with_heat(photo: Image.Image, heat: Array, patch: tuple[float, float]) -> Image.Image:
    """Lay heat (rows, columns), 0 to 1, over a photo that is half turned to grey for contrast."""
    rows, columns = heat.shape
    covered = (max(1, round(photo.width * columns * patch[1])), max(1, round(photo.height * rows * patch[0])))
    smooth = Image.fromarray(heat).resize(covered, Image.Resampling.BICUBIC)
    strength = np.zeros((photo.height, photo.width), dtype=np.float32)
    strength[: covered[1], : covered[0]] = np.asarray(smooth).clip(0, 1)
    places = np.linspace(0, 1, len(RAMP))
    colour = np.stack([np.interp(strength, places, RAMP[:, channel]) for channel in range(3)], axis=-1)
    grey = Image.blend(photo, photo.convert("L").convert("RGB"), 0.5)
    alpha = OPACITY * strength[:, :, None]
    mixed = (1 - alpha) * np.asarray(grey, dtype=np.float32) + alpha * colour
    return Image.fromarray(mixed.round().astype(np.uint8))


def tiles(photo: Image.Image, explanation: Explanation, side: int) -> Image.Image:
    """Draw the grid of `grid` with tiles of `side` pixels."""
    base = fit(photo, side)
    pictures = [base, *(with_heat(base, heat, explanation.patch) for heat in heats(explanation))]
    labels = ["photo", *(heatmap.word.text for heatmap in explanation.heatmaps)]
    text = max(8, side // 14)
    font, line, gap = ImageFont.load_default(text), 2 * text, max(2, side // 40)
    columns = min(COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    across, down = base.width + gap, base.height + line
    sheet = Image.new("RGB", (gap + columns * across, line + rows * down), "white")
    pen = ImageDraw.Draw(sheet)
    title = shortened(pen, MEANINGS[explanation.method], font, sheet.width - 2 * gap)
    pen.text((gap, line // 2), title, "black", font, anchor="lm")
    for index, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        left, top = gap + index % columns * across, line + index // columns * down
        sheet.paste(picture, (left, top))
        middle = (left + base.width // 2, top + base.height + line // 2)
        pen.text(middle, shortened(pen, label, font, base.width), "black", font, anchor="mm")
    return sheet


def shortened(
    pen: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> str:
    """Cut a text, with an ellipsis, so that it is at most `width` pixels long."""
    if pen.textlength(text, font) <= width:
        return text
    while text and pen.textlength(text + "…", font) > width:
        text = text[:-1]
    return text + "…"


def to_png(image: Image.Image) -> bytes:
    """Encode."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
