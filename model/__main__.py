"""Caption and explain photos without a server: `python -m model caption PHOTO…`, `… explain PHOTO`."""

import argparse
import sys
from pathlib import Path

from model.captioner import Captioner
from model.errors import CaptionerError
from model.explain.explainer import Explainer
from model.explain.explanation import MEANINGS, Method
from model.explain.files import new_folder, write_explanation
from model.image import decode

DEFAULT_CHECKPOINT = Path(__file__).parent.parent / "checkpoints" / "flickr8k-coco"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 1 when something could not be done."""
    parser = argparse.ArgumentParser(prog="python -m model", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    caption = commands.add_parser("caption", help="print a score and a caption for each photo")
    caption.add_argument("photos", nargs="+", type=Path, metavar="PHOTO")
    caption.add_argument("--captions", type=int, default=1, help="captions of each photo (default: 1)")
    explain = commands.add_parser("explain", help="draw where in a photo each word of its caption comes from")
    explain.add_argument("photo", type=Path, metavar="PHOTO")
    explain.add_argument("--out", type=Path, required=True, help="folder for the pictures, new or empty")
    explain.add_argument("--method", choices=list(MEANINGS), default="occlusion", help="default: %(default)s")
    explain.add_argument("--caption", help="explain this text instead of the caption that the model finds")
    for command in (caption, explain):
        command.add_argument(
            "--checkpoint", type=Path, default=DEFAULT_CHECKPOINT, help="default: %(default)s"
        )
        command.add_argument("--beams", type=int, help="beams of the search (default: the checkpoint's)")
        command.add_argument("--prompt", default="", help="what captions begin with, as in 'a picture of'")
    given = parser.parse_args(arguments)
    try:
        if given.command == "caption":
            return caption_photos(given.photos, given.checkpoint, given.beams, given.captions, given.prompt)
        explain_photo(
            given.photo,
            given.out,
            given.checkpoint,
            given.beams,
            given.prompt,
            method=given.method,
            text=given.caption,
        )
    except (OSError, CaptionerError) as error:
        of = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        print(f"error: {of}{reason(error)}", file=sys.stderr)
        return 1
    return 0


def reason(error: Exception) -> str:
    """Say what is wrong, without the number and the name that Python puts around it."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def caption_photos(
    photos: list[Path], checkpoint: Path, beams: int | None, captions: int, prompt: str
) -> int:
    """Print `photo  score  caption` lines; a photo that fails is reported and the others go on."""
    captioner = Captioner.from_folder(checkpoint)
    beams = captioner.options.num_beams if beams is None else beams
    options = captioner.options.replace(num_beams=beams, num_captions=captions)
    failed = 0
    for photo in photos:
        try:
            (found,) = captioner.caption([captioner.preprocess(photo.read_bytes())], options, prompt)
        except (OSError, CaptionerError) as error:
            print(f"error: {photo}: {reason(error)}", file=sys.stderr)
            failed = 1
            continue
        for caption in found:
            print(f"{photo}\t{caption.score:.3f}\t{caption.text}")
    return failed


def explain_photo(
    photo: Path,
    out: Path,
    checkpoint: Path,
    beams: int | None,
    prompt: str,
    *,
    method: Method,
    text: str | None,
) -> None:
    """Write the heatmaps of a photo's caption, or of `text`, and print `photo  score  caption`.

    Raises OSError and CaptionerError for what cannot be read, explained or written.
    """
    with new_folder(out) as folder:
        captioner = Captioner.from_folder(checkpoint)
        explainer = Explainer(captioner)
        data = photo.read_bytes()
        pixels = captioner.preprocess(data)
        if text is None:
            beams = captioner.options.num_beams if beams is None else beams
            options = captioner.options.replace(num_beams=beams, num_captions=1)
            ((caption,),) = captioner.caption([pixels], options, prompt)
        else:
            caption = explainer.given(pixels, text)
        explanation = explainer.explain(pixels, caption, method)
        write_explanation(folder, decode(data, captioner.max_pixels), explanation)
    print(f"{photo}\t{caption.score:.3f}\t{caption.text}")


if __name__ == "__main__":
    sys.exit(main())
