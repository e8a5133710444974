"""`python -m fuzz`: serve a checkpoint, send thousands of bad requests, and see that nothing suffers."""

import argparse
import io
import logging
import sys
from pathlib import Path

from PIL import Image, ImageOps

from fuzz.campaign import GROWTH, campaign
from fuzz.run import GOOD
from fuzz.table import save, table
from fuzz.target import Target
from serving.temporary import served_checkpoint
from training.progress import Progress

SAMPLE = Path("examples/dog.jpg")
FOLDER = Path("build/fuzz")
WARM_UP = 1000
"""Cases of the warm-up after the heaviest ones, at most as many as of the run: a worker keeps what it
imports and compiles when it is first needed."""


def main() -> int:
    """Run and report. Returns the exit code: 0 where all replies are right and the server is unharmed."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/flickr8k-coco"))
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", default="0", help="any text: the same cases for the same seed")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="send this one case of the seed")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    numbers = range(arguments.cases) if arguments.only is None else [arguments.only]
    warm_up = min(WARM_UP, len(numbers))
    with served_checkpoint(arguments.checkpoint) as server:
        target = Target(server)
        with Progress("fuzzing", warm_up + len(numbers), "case") as progress:
            report = campaign(
                target, arguments.seed, numbers, photos(), warm_up=warm_up, done=progress.advance
            )
    for line in table(report.counts):
        print(line)
    asked = sum(count for (kind, _), count in report.counts.items() if kind != GOOD)
    print(f"{asked} cases of seed {arguments.seed}, after {warm_up} to warm up")
    print(
        f"worker's memory: {report.memory_before:.0f} MB before, {report.memory_after:.0f} MB after "
        f"(at most {GROWTH:.0%} more is right)"
    )
    wrong = [*save(report.faults, FOLDER), *report.problems]
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    return 1 if wrong else 0


def photos() -> list[bytes]:
    """Make four good photos of one, which get different captions."""
    sample = Image.open(SAMPLE).convert("RGB").resize((256, 192))
    exchanged = Image.merge("RGB", sample.split()[::-1])
    return [
        encoded(one) for one in (sample, exchanged, ImageOps.invert(sample), ImageOps.posterize(sample, 1))
    ]


def encoded(image: Image.Image) -> bytes:
    """Encode a photo as most are."""
    stream = io.BytesIO()
    image.save(stream, "JPEG")
    return stream.getvalue()


if __name__ == "__main__":
    sys.exit(main())
