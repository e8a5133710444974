"""An evaluation as one HTML file to look at: scores, curves, and photos with their captions.

Nothing is loaded from elsewhere, and the page forbids itself to. Captions and names are text of
strangers: Jinja escapes them, ElementTree in the charts.
"""

import base64
import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup
from PIL import Image

from model.errors import ImageError
from model.image import decode
from training.data.captions import CaptionSet
from training.evaluation.charts import histogram, line_chart
from training.evaluation.curves import PLACES, VALUES, Curves
from training.evaluation.result import Evaluation, Photo, write_aside

SHOWN = 12  # photos of each kind
SEED = 0  # of the random photos, and of the order of those with equal scores
PHOTO_SIZE = 320  # pixels, the longer side
PHOTO_QUALITY = 70  # of WebP, 0 to 100
BIN = 0.1  # CIDEr; width of the distribution's bars

MEANINGS = {
    "BLEU-1": "words that a reference has, too, 0 to 1",
    "BLEU-2": "the same for runs of up to 2 words",
    "BLEU-3": "the same for runs of up to 3 words",
    "BLEU-4": "the same for runs of up to 4 words",
    "METEOR": "words matched by form, stem or synonym, 0 to 1",
    "ROUGE-L": "longest common subsequence, 0 to 1",
    "CIDEr": "runs of up to 4 words, rare ones counting more (CIDEr-D), 0 to 10",
    "SPICE": "objects, attributes and relations, 0 to 1",
    "distinct captions": "share of different captions",
    "novel captions": "share that is no training caption",
    "words a caption": "mean length",
    "photos a second": "speed, from files to captions",
}

CHARTS = {
    "Loss (nats a token)": {"training": "loss", "dev": "dev_loss"},
    "CIDEr": {"CIDEr": "cider"},
    "BLEU-4": {"BLEU-4": "bleu4"},
}


@dataclass(frozen=True)
class Shown:
    """A photo as the page shows it."""

    photo: Photo
    source: str | None  # data: URL; None where the photo cannot be decoded here
    references: Sequence[str]


def write_report(path: Path, result: Evaluation, photos: CaptionSet, curves: Curves = ()) -> None:
    """Write the page, aside and renamed; `curves` is the history of the run that made the weights."""
    captioned = [photo for photo in result.photos if photo.failure is None]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    references = dict(zip(photos.ids, photos.captions, strict=True))
    kinds = {
        kind: [
            Shown(one, data_url(photos.images / one.file_name), references[one.image_id]) for one in chosen
        ]
        for kind, chosen in choose(captioned).items()
    }
    ciders = [photo.cider for photo in result.photos]
    page = environment.get_template("report.html").render(
        result=result,
        meanings=MEANINGS,
        charts=score_curves(curves),
        curves=curves,
        columns=[name for name in (*PLACES, *VALUES) if any(name in line for line in curves)],
        distribution=histogram("CIDEr of each photo", ciders, BIN, "CIDEr"),
        quartiles=quartiles(ciders),
        kinds=kinds,
    )
    write_aside(path, page)


def choose(photos: Sequence[Photo]) -> dict[str, list[Photo]]:
    """Choose the best, the worst and random photos by CIDEr; the same ones every time, none twice."""
    rng = random.Random(SEED)
    shuffled = rng.sample(photos, len(photos))
    ranked = sorted(shuffled, key=lambda photo: -photo.cider)
    each = min(SHOWN, -(-len(photos) // 3))
    best, worst = ranked[:each], ranked[each:][::-1][:each]
    rest = [photo for photo in shuffled if photo not in best and photo not in worst]
    return {"Best": best, "Worst": worst, "Random": rest[:each]}


def quartiles(values: Sequence[float]) -> Mapping[str, float]:
    """Return lowest value, quartiles and highest value."""
    ranked = sorted(values)
    names = ("lowest", "first quartile", "median", "third quartile", "highest")
    return {name: ranked[round(index / 4 * (len(ranked) - 1))] for index, name in enumerate(names)}


def score_curves(curves: Curves) -> list[tuple[str, Markup]]:
    """Draw what a run noted, over its epochs; where it counted none, over its steps."""
    place = next((place for place in PLACES if any(place in line for line in curves)), PLACES[0])
    charts = []
    for title, names in CHARTS.items():
        series = {
            shown: points
            for shown, name in names.items()
            if (points := [(line[place], line[name]) for line in curves if place in line and name in line])
        }
        if series:
            charts.append((title, line_chart(title, series, place)))
    return charts


def data_url(path: Path) -> str | None:
    """Decode a photo and encode it anew, small, and without what a camera wrote beside it.

    None where that fails: a server may read what this process does not.
    """
    try:
        photo = decode(path.read_bytes())
    except (ImageError, OSError):
        return None
    photo.thumbnail((PHOTO_SIZE, PHOTO_SIZE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    photo.save(stream, "WEBP", quality=PHOTO_QUALITY, icc_profile=None, exif=b"", xmp=b"")
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"
