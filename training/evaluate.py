"""Score captions of one split of a data folder. `python -m training.evaluate --help`.

checkpoint folder, archive or running server → captions → scores → table, JSON file, HTML report
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from model.captioner import Captioner
from model.errors import CaptionerError
from model.options import GenerationOptions
from training.captioning import Captioned, caption_with_engine
from training.captions import CaptionSet, has_split, read_captions, read_split
from training.command import INTERRUPTED, check_writable
from training.curves import Curves, history_beside, read_curves
from training.errors import TrainingError
from training.evaluation import Evaluation, score
from training.packed import open_archive
from training.problems import Problems
from training.report import write_report
from training.served import caption_with_server, key_for, server_url
from training.spice import require_core_nlp

logger = logging.getLogger("training.evaluate")

TRAIN = "train"


def caption_with_checkpoint(path: Path, photos: CaptionSet, overrides: Sequence[str]) -> Captioned:
    """Caption a split with a checkpoint folder or an archive."""
    if path.is_dir():
        captioner = Captioner.from_folder(path)
        return caption_with_engine(captioner, photos, changed(captioner.options, overrides))
    if not path.is_file():
        raise TrainingError(f"{path} is neither a checkpoint folder nor an archive")
    with open_archive(path) as (captioner, options):
        return caption_with_engine(captioner, photos, changed(options, overrides))


def changed(options: GenerationOptions, overrides: Sequence[str]) -> GenerationOptions:
    """Replace options by NAME=VALUE with JSON values."""
    values = {}
    for name, _, text in (override.partition("=") for override in overrides):
        try:
            values[name] = json.loads(text)
        except ValueError:
            raise TrainingError(f"option {name}={text}: a JSON value is needed, as in num_beams=4") from None
    return options.replace(**values)


def training_captions(data: Path, split: str) -> list[str]:
    """Captions that a captioner of this data learned from; none where `split` is one of them."""
    if split == TRAIN or not has_split(data, TRAIN):
        return []
    # What is wrong with another split does not matter here.
    return [text for group in read_split(data, TRAIN, Problems()).captions for text in group]


def evaluate(given: argparse.Namespace) -> tuple[Evaluation, CaptionSet]:
    """Check what can be checked before captioning; then caption and score."""
    if given.spice:
        require_core_nlp()
    photos = read_captions(given.data, given.split)
    if given.server is None:
        source = str(given.checkpoint)
        captioned = caption_with_checkpoint(given.checkpoint, photos, given.options)
    else:
        if given.options:
            raise TrainingError("options are the server's own: set them in its model-config.yaml")
        server = server_url(given.server)
        source = f"{given.name} at {server}"
        captioned = caption_with_server(server, given.name, key_for(server, Path.cwd()), photos)
    known = training_captions(given.data, given.split)
    result = score(
        captioned,
        photos,
        source=source,
        data=given.data,
        split=given.split,
        known=known,
        with_spice=given.spice,
    )
    return result, photos


def curves_of(given: argparse.Namespace) -> Curves:
    """Read the history of the run: the one that was asked for, else the one beside the checkpoint."""
    path = given.history
    if path is None and given.checkpoint is not None and given.checkpoint.is_dir():
        path = history_beside(given.checkpoint)
    return () if path is None else read_curves(path)


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description="Score captions with BLEU, METEOR, ROUGE-L and CIDEr. CAPTIONER_KEY in the environment "
        "is the key of a server that is not the one started here.",
    )
    captioner = parser.add_mutually_exclusive_group(required=True)
    captioner.add_argument("--checkpoint", type=Path, help="checkpoint folder, or an archive (.mar)")
    captioner.add_argument("--server", metavar="URL", help="a running server, as in http://localhost:8080")
    parser.add_argument("--name", default="captioner", help="the server's model; by default %(default)s")
    parser.add_argument("--data", type=Path, required=True, help="folder with captions and images/")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--spice", action="store_true", help="score SPICE, too; needs CoreNLP")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where to write scores and captions")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="where to write a page to look at")
    parser.add_argument(
        "--history",
        type=Path,
        help="a run's history.jsonl; by default the one beside the checkpoint",
    )
    parser.add_argument("options", nargs="*", help="generation options, as in num_beams=4 length_penalty=0.8")
    return parser


def main() -> int:
    """Command line; 1 where something is wrong or a photo got no caption."""
    given = arguments().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        for file in filter(None, (given.out, given.report)):
            check_writable(file.parent)
        curves = curves_of(given)
        result, photos = evaluate(given)
        for photo in result.failed:
            logger.error("%s: no caption, %s", photo.file_name, photo.failure)
        sys.stdout.write(result.table() + "\n")
        if given.out is not None:
            result.write(given.out)
        if given.report is not None:
            write_report(given.report, result, photos, curves)
            logger.info("%s: %.1f MB", given.report, given.report.stat().st_size / 1e6)
    except (TrainingError, CaptionerError, OSError) as error:
        logger.error("%s", error)
        return 1
    except KeyboardInterrupt:
        logger.error("interrupted: nothing was written")
        return INTERRUPTED
    return 1 if result.failed else 0


if __name__ == "__main__":
    sys.exit(main())
