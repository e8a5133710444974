"""Curves and sample captions of a run, for `tensorboard --logdir OUT`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter

from training.data.photos import Photos


class Board:
    """Writes the event files; a resumed run hides what came after the step it resumes from."""

    def __init__(self, folder: Path, step: int, *, shown: bool = True) -> None:
        """Begin; of several processes one alone is `shown`."""
        self.writer = SummaryWriter(str(folder), purge_step=step) if shown else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.writer is not None:
            self.writer.close()

    def scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Add a point to each curve: `GROUP/NAME`, where a name need not say its group again."""
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(f"{group}/{name.removeprefix(f'{group}_')}", value, step)

    def samples(self, photos: Photos, captions: Sequence[str], step: int) -> None:
        """Show a few photos (N, size, size, 3) and what the weights say of them now."""
        if self.writer is not None:
            for index, (photo, caption) in enumerate(zip(photos, captions, strict=True)):
                self.writer.add_image(f"samples/{index}", photo, step, dataformats="HWC")
                self.writer.add_text(f"samples/{index}", caption, step)

    def flush(self) -> None:
        """Write what was added to disk."""
        if self.writer is not None:
            self.writer.flush()
