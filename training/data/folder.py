"""A data folder, validated and decoded: all that is wrong with it is known before anything is trained."""

import logging
from dataclasses import dataclass
from pathlib import Path

from model.image import ImageConfig
from training.data.captions import CaptionSet, has_split, read_split
from training.data.photos import Photos, load_photos, read_photo
from training.data.problems import Problems
from training.errors import DataError
from training.progress import Progress

logger = logging.getLogger("training.data.folder")


@dataclass(frozen=True)
class Data:
    """Photos with their captions, index by index; `dev` is None where the folder has no such split."""

    train: tuple[CaptionSet, Photos]
    dev: tuple[CaptionSet, Photos] | None


def load_data(folder: Path, image: ImageConfig, cache: Path) -> Data:
    """Read the splits `train` and `dev` of a folder and decode their photos.

    Raises DataError with a line for everything that is wrong with captions and photos of both.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder")
    problems = Problems()
    splits = ["train", *(["dev"] if has_split(folder, "dev") else [])]
    captions = {split: read_split(folder, split, problems) for split in splits}
    if len(problems):  # with captions to be mended, photos are only looked at
        for found in captions.values():
            with Progress("checking photos", len(found.names), "photo") as progress:
                for name in found.names:
                    read_photo(found.images / name, problems)
                    progress.advance()
    elif not captions["train"].names:
        raise DataError(f"{folder}: split 'train' holds no caption")
    problems.check()
    if len(splits) > 1 and (shared := set(captions["train"].names) & set(captions["dev"].names)):
        logger.warning("%d photos are in train and in dev: dev scores will be too good", len(shared))
    loaded, faults = {}, []
    for split, found in captions.items():
        try:
            photos = load_photos(found.images, found.names, image.size[0], cache, image.resample)
        except DataError as error:  # those of the other split are to be told in the same go
            faults.append(str(error))
        else:
            loaded[split] = (found, photos)
    if faults:
        raise DataError("\n".join(faults))
    if "dev" not in loaded:
        logger.info("%s has no split 'dev': nothing is scored, and the last weights are kept", folder)
    return Data(loaded["train"], loaded.get("dev"))
