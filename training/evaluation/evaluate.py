"""The captions of one split of a data folder, scored: what `python -m training evaluate` does.

checkpoint folder, archive or running server → captions → scores → table, JSON file, HTML report
"""

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from archive.read import open_archive
from model.captioner import Captioner
from model.search.options import GenerationOptions
from training.data.captions import CaptionSet, has_split, read_captions, read_split
from training.data.problems import Problems
from training.errors import INTERRUPTED, TrainingError
from training.evaluation.captioning import Captioned, caption_with_engine
from training.evaluation.curves import Curves, history_beside, read_curves
from training.evaluation.report import write_report
from training.evaluation.result import Evaluation, score
from training.evaluation.served import caption_with_server, key_for, server_url
from training.evaluation.spice import require_core_nlp

logger = logging.getLogger("training.evaluation.evaluate")

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


@dataclass(frozen=True)
class Asked:
    """What is to be scored: a split of a data folder, by a checkpoint or by a server."""

    data: Path
    split: str
    checkpoint: Path | None  # a folder or an archive
    server: str | None  # a URL
    name: str  # of the server's model
    options: Sequence[str]  # NAME=VALUE, of a checkpoint's generation
    spice: bool


def evaluate(asked: Asked) -> tuple[Evaluation, CaptionSet]:
    """Check what can be checked before captioning; then caption and score."""
    if asked.spice:
        require_core_nlp()
    photos = read_captions(asked.data, asked.split)
    if asked.checkpoint is not None:
        source = str(asked.checkpoint)
        captioned = caption_with_checkpoint(asked.checkpoint, photos, asked.options)
    else:
        assert asked.server is not None
        if asked.options:
            raise TrainingError("options are the server's own: set them in its model-config.yaml")
        server = server_url(asked.server)
        source = f"{asked.name} at {server}"
        captioned = caption_with_server(server, asked.name, key_for(server, Path.cwd()), photos)
    known = training_captions(asked.data, asked.split)
    result = score(
        captioned,
        photos,
        source=source,
        data=asked.data,
        split=asked.split,
        known=known,
        with_spice=asked.spice,
    )
    return result, photos


def curves_of(asked: Asked, history: Path | None) -> Curves:
    """Read the history of a run: the one that was asked for, else the one beside the checkpoint."""
    if history is None and asked.checkpoint is not None and asked.checkpoint.is_dir():
        history = history_beside(asked.checkpoint)
    return () if history is None else read_curves(history)


def evaluate_and_write(asked: Asked, history: Path | None, *, out: Path | None, report: Path | None) -> int:
    """Print the scores and write the files; returns 1 where a photo got no caption, 130 for Ctrl-C."""
    try:
        curves = curves_of(asked, history)
        result, photos = evaluate(asked)
        for photo in result.failed:
            logger.error("%s: no caption, %s", photo.file_name, photo.failure)
        sys.stdout.write(result.table() + "\n")
        if out is not None:
            result.write(out)
        if report is not None:
            write_report(report, result, photos, curves)
            logger.info("%s: %.1f MB", report, report.stat().st_size / 1e6)
    except KeyboardInterrupt:
        logger.error("interrupted: nothing was written")
        return INTERRUPTED
    return 1 if result.failed else 0
