"""Caption photos without a server: `python -m model caption PHOTO…`."""

import argparse
import sys
from pathlib import Path

from model.captioner import Captioner
from model.errors import CaptionerError

DEFAULT_CHECKPOINT = Path(__file__).parent.parent / "checkpoints" / "flickr8k-small"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 1 when a photo could not be captioned."""
    parser = argparse.ArgumentParser(prog="python -m model", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    caption = commands.add_parser("caption", help="print a score and a caption for each photo")
    caption.add_argument("photos", nargs="+", type=Path, metavar="PHOTO")
    caption.add_argument("--checkpoint", type=Path, default=DEFAULT_CHECKPOINT, help="default: %(default)s")
    caption.add_argument("--beams", type=int, help="beams of the search (default: the checkpoint's)")
    caption.add_argument("--captions", type=int, default=1, help="captions of each photo (default: 1)")
    caption.add_argument("--prompt", default="", help="what captions begin with, as in 'a picture of'")
    given = parser.parse_args(arguments)
    try:
        return caption_photos(given.photos, given.checkpoint, given.beams, given.captions, given.prompt)
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


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
            print(f"error: {photo}: {error}", file=sys.stderr)
            failed = 1
            continue
        for caption in found:
            print(f"{photo}\t{caption.score:.3f}\t{caption.text}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
