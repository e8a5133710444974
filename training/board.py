"""Curves and sample captions of a run, for `tensorboard --logdir OUT`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from training.data.photos import Photos

NAMES = {"loss": "train/loss", "contrast": "train/contrast", "dev_loss": "dev/loss"} | {
    name: f"dev/{name}" for name in ("cider", "bleu4")
}
"""Fields of a report → names of the curves."""


class Board:
    """Writes the event files; a resumed run hides what came after the step it resumes from."""

    def __init__(self, folder: Path, step: int) -> None:
        self.writer = SummaryWriter(str(folder), purge_step=step)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add a point to each curve that is known."""
        for name, value in values.items():
            if name in NAMES:
                self.writer.add_scalar(NAMES[name], value, step)

    def rate(self, factor: float, step: int) -> None:
        """Add a point to the curve of the learning rate, a share of its peak."""
        self.writer.add_scalar("train/rate", factor, step)

    def samples(self, photos: Photos, captions: Sequence[str], step: int) -> None:
        """Show a few photos (N, size, size, 3) and what the weights say of them now."""
        for index, (photo, caption) in enumerate(zip(photos, captions, strict=True)):
            self.writer.add_image(f"samples/{index}", photo, step, dataformats="HWC")
            self.writer.add_text(f"samples/{index}", caption, step)

    def flush(self) -> None:
        """Write what was added to disk."""
        self.writer.flush()

    def close(self) -> None:
        """Flush and end."""
        self.writer.close()
