"""Pictures of an explanation: an overlay for each word, or one grid of all of them.

All words of a caption share one scale, from 0 to the highest value that any of them has: a colour is a
number, and a word for which the photo hardly matters is faint. A caller can bound the pictures' bytes.
"""

import io
from collections.abc import Callable

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from model.explain.explanation import MEANINGS, Explanation

Array = NDArray[np.float32]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

OVERLAY_SIDES = (224, 512)
"""Bounds of an overlay's longest side in pixels; between them it is the photo's."""
TILE_SIDE = 224
"""Side of a grid's tiles in pixels."""
LEAST_SIDE = 32
"""Where pictures this small are still too many bytes, the bound itself is wrong."""
COLUMNS = 4

OPACITY = 0.65
"""Of the strongest heat: the photo has to be seen below it."""
GREY = 0.75
"""How far the photo below the heat is turned to grey, so that colour is heat."""
RAMP = np.asarray(colormaps["plasma"](np.linspace(0, 1, 256))[:, :3], dtype=np.float32) * 255
"""Colours of heat from 0 to 1: lightness rises evenly, which those who see no colours see as well."""


class TooFewBytes(ValueError):
    """The smallest pictures have more bytes than the caller allows."""


def overlays(photo: Image.Image, explanation: Explanation, max_bytes: int | None = None) -> list[bytes]:
    """Draw each word's heat over an upright RGB photo: PNG files, in the order of the heatmaps.

    Together they have at most `max_bytes`, None for any size. They are drawn with the photo's longest side
    within `OVERLAY_SIDES`; as long as they are too large, again with sides that are smaller by the
    root of the excess and a tenth. Raises TooFewBytes for a bound that no picture fits.
    """

    def draw(side: int) -> list[bytes]:
        base = fit(photo, side)
        return [to_png(with_heat(base, heat, explanation.patch)) for heat in heats(explanation)]

    least, most = OVERLAY_SIDES
    return within(max_bytes, draw, min(max(least, *photo.size), most))


def grid(photo: Image.Image, explanation: Explanation, max_bytes: int | None = None) -> bytes:
    """Draw one PNG: the photo, then each word's heat with the word and its peak below it, and a scale.

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
    """Return what is drawn of each map: 0 for no evidence or evidence against, 1 for the highest of all."""
    highest = max(peak(explanation), 1e-12)
    return [(heatmap.values.clamp(min=0) / highest).numpy() for heatmap in explanation.heatmaps]


def peak(explanation: Explanation) -> float:
    """Return the highest value of all words, 0 where there is none above it."""
    return max((float(heatmap.values.max()) for heatmap in explanation.heatmaps), default=0.0)


def fit(photo: Image.Image, side: int) -> Image.Image:
    """Scale to a longest side of `side` pixels, up as well as down."""
    factor = side / max(photo.size)
    width, height = (max(1, round(length * factor)) for length in photo.size)
    return photo.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)


def with_heat(photo: Image.Image, heat: Array, patch: tuple[float, float]) -> Image.Image:
    """Lay heat (rows, columns), 0 to 1, over a photo that is turned to grey for contrast."""
    rows, columns = heat.shape
    covered = (max(1, round(photo.width * columns * patch[1])), max(1, round(photo.height * rows * patch[0])))
    smooth = Image.fromarray(heat).resize(covered, Image.Resampling.BICUBIC)
    strength = np.zeros((photo.height, photo.width), dtype=np.float32)
    strength[: covered[1], : covered[0]] = np.asarray(smooth).clip(0, 1)
    colour = RAMP[(strength * 255).round().astype(int)]  # (height, width, 3)
    grey = Image.blend(photo, photo.convert("L").convert("RGB"), GREY)
    alpha = OPACITY * np.sqrt(strength)[:, :, None]  # so that weak heat keeps its colour
    mixed = (1 - alpha) * np.asarray(grey, dtype=np.float32) + alpha * colour
    return Image.fromarray(mixed.round().astype(np.uint8))


def tiles(photo: Image.Image, explanation: Explanation, side: int) -> Image.Image:
    """Draw the grid of `grid` with tiles of `side` pixels."""
    base = fit(photo, side)
    pictures = [base, *(with_heat(base, heat, explanation.patch) for heat in heats(explanation))]
    labels = ["photo"]
    labels += [
        f"{heatmap.word.text}  {max(0.0, float(heatmap.values.max())):.2g}"
        for heatmap in explanation.heatmaps
    ]
    text = max(8, side // 14)
    font, line, gap = ImageFont.load_default(text), 2 * text, max(2, side // 40)
    columns = min(COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    across, down = base.width + gap, base.height + line
    sheet = Image.new("RGB", (gap + columns * across, line + rows * down), "white")
    pen = ImageDraw.Draw(sheet)
    room = sheet.width - 2 * gap
    if columns > 1:  # a lone tile is too narrow for a scale
        room -= draw_scale(sheet, font, peak(explanation), right=sheet.width - gap, line=line)
    title = shortened(pen, MEANINGS[explanation.method], font, room)
    pen.text((gap, line // 2), title, "black", font, anchor="lm")
    for index, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        left, top = gap + index % columns * across, line + index // columns * down
        sheet.paste(picture, (left, top))
        middle = (left + base.width // 2, top + base.height + line // 2)
        pen.text(middle, shortened(pen, label, font, base.width), "black", font, anchor="mm")
    return sheet


def draw_scale(sheet: Image.Image, font: Font, highest: float, *, right: int, line: int) -> int:
    """Draw `0 ▒▓█ highest` at the right of a sheet's first line; returns the pixels that it takes."""
    pen = ImageDraw.Draw(sheet)
    label = f"{highest:.2g}"
    pen.text((right, line // 2), label, "black", font, anchor="rm")
    width, height = 4 * line, line // 2
    end = right - round(pen.textlength(label + " ", font))
    strength = np.linspace(0, 1, width, dtype=np.float32)
    alpha = OPACITY * np.sqrt(strength)[:, None]
    bar = (1 - alpha) * 160 + alpha * RAMP[(strength * 255).round().astype(int)]  # as over a grey photo
    sheet.paste(
        Image.fromarray(np.tile(bar.round().astype(np.uint8), (height, 1, 1))), (end - width, line // 4)
    )
    pen.text((end - width, line // 2), "0 ", "black", font, anchor="rm")
    return right - end + width + round(pen.textlength("0  ", font))


def shortened(pen: ImageDraw.ImageDraw, text: str, font: Font, width: int) -> str:
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
