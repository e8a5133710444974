"""Score a checkpoint on one split of a data folder. `python -m training.evaluate --help`."""

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from model.captioner import Captioner
from model.errors import CaptionerError
from model.options import BeamOptions
from training.captions import CaptionSet, read_captions
from training.errors import TrainingError
from training.scores import distinct_rate, mean_length, score_captions

logger = logging.getLogger("training.evaluate")

BATCH = 32  # photos that go through the encoder and the beam search together


def caption_split(captioner: Captioner, photos: CaptionSet, options: BeamOptions) -> list[str]:
    """Caption every photo of a split: the best caption of each, in order."""
    made: list[str] = []
    with tqdm(total=len(photos.names), desc="captioning", unit="photo", disable=None) as bar:
        for start in range(0, len(photos.names), BATCH):
            names = photos.names[start : start + BATCH]
            pixels = [captioner.preprocess((photos.images / name).read_bytes()) for name in names]
            made.extend(captions[0].text for captions in captioner.caption(pixels, options))
            bar.update(len(names))
    return made


def evaluate(captioner: Captioner, photos: CaptionSet, options: BeamOptions) -> dict[str, float]:
    """All scores of a captioner on a split."""
    started = time.monotonic()
    made = caption_split(captioner, photos, options)
    seconds = time.monotonic() - started
    references = dict(zip(photos.ids, photos.captions, strict=True))
    scores = score_captions(dict(zip(photos.ids, made, strict=True)), references)
    return scores | {
        "distinct captions": distinct_rate(made),
        "words a caption": mean_length(made),
        "photos a second": len(made) / seconds,
    }


def table(scores: dict[str, float]) -> str:
    """Scores as aligned lines."""
    width = max(len(name) for name in scores)
    return "\n".join(f"{name:<{width}}  {value:8.4f}" for name, value in scores.items())


def _options(captioner: Captioner, overrides: Sequence[str]) -> BeamOptions:
    pairs = dict(override.partition("=")[::2] for override in overrides)
    values = {}
    for name, text in pairs.items():
        try:
            values[name] = json.loads(text)
        except ValueError:
            raise TrainingError(f"option {name}={text}: a JSON value is needed, as in num_beams=4") from None
    return captioner.options.replace(**values)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Score a checkpoint with BLEU, METEOR, ROUGE-L and CIDEr.")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with captions_SPLIT.json and images/"
    )
    parser.add_argument("--split", default="dev")
    parser.add_argument("--out", type=Path, help="where to write the scores as JSON")
    parser.add_argument("options", nargs="*", help="generation options, as in num_beams=4 length_penalty=0.8")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        captioner = Captioner.from_folder(given.checkpoint)
        photos = read_captions(given.data, given.split)
        scores = evaluate(captioner, photos, _options(captioner, given.options))
    except (TrainingError, CaptionerError) as error:
        logger.error("%s", error)
        return 1
    sys.stdout.write(table(scores) + "\n")
    if given.out is not None:
        aside = given.out.with_suffix(".aside")
        aside.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
        aside.replace(given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
