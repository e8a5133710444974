"""An explanation as files: `grid.png`, `values.json` and `word-01-dog.png` for each word."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from model.explain.explanation import Explanation
from model.explain.render import grid, overlays


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder aside, which gets its name at the end, and is gone where something raises.

    Raises FileExistsError, at once, unless `folder` is new or empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there and holds something: name a new or an empty folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield aside
        aside.chmod(0o755)  # temporary folders are made for their owner alone
        aside.rename(folder)  # takes the place of an empty folder, too
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_explanation(folder: Path, photo: Image.Image, explanation: Explanation) -> None:
    """Write the pictures of an upright RGB photo and all values into `folder`."""
    values = {"caption": explanation.caption.text} | explanation.to_dict(photo.size)
    content = json.dumps(values, ensure_ascii=False, indent=1) + "\n"
    (folder / "values.json").write_text(content, encoding="utf-8")
    (folder / "grid.png").write_bytes(grid(photo, explanation))
    pictures = zip(explanation.heatmaps, overlays(photo, explanation), strict=True)
    for number, (heatmap, png) in enumerate(pictures, start=1):
        name = "".join(letter if letter.isalnum() else "_" for letter in heatmap.word.text)
        (folder / f"word-{number:02}-{name[:40]}.png").write_bytes(png)
