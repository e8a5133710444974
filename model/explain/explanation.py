"""What comes out: the words of a caption with their heatmaps, and how those lie on the photo."""

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from model.captioner import Caption
from model.words import Word

Method = Literal["occlusion", "attention", "integrated_gradients"]

MEANINGS: dict[Method, str] = {
    "occlusion": "occlusion: fall of the word's log-probability where the photo is covered",
    "attention": "attention: where the decoder read; no attribution",
    "integrated_gradients": "integrated gradients: share in the word's log-probability",
}
"""The methods, with what their values mean; the first is the default."""


@dataclass(frozen=True, slots=True)
class Heatmap:
    """A word and its map: float32 (rows, columns) on the processor, top row first."""

    word: Word
    values: Tensor


@dataclass(frozen=True, slots=True)
class Explanation:
    """The heatmaps of a caption's first words, all of them unless a bound cut them off.

    They have `grid` (rows, columns) patches, each `patch` of the photo's height and width. The
    first begins at the top left corner; what the network never sees at the other edges has none.
    """

    caption: Caption
    words: tuple[Word, ...]
    method: Method
    heatmaps: tuple[Heatmap, ...]
    grid: tuple[int, int]
    patch: tuple[float, float]

    def to_dict(self, photo: tuple[int, int]) -> dict[str, Any]:
        """Return it as plain data for a photo of (width, height) pixels, upright as EXIF says.

        `values[row][column]` belongs to the photo's pixels from x = column · patch width and
        y = row · patch height. It is rounded to six digits, at most 12 bytes of JSON each.
        """
        width, height = photo
        patch_height, patch_width = self.patch
        rows, columns = self.grid
        return {
            "method": self.method,
            "meaning": MEANINGS[self.method],
            "photo": {"width": width, "height": height},
            "grid": {
                "rows": rows,
                "columns": columns,
                "patch_width": round(patch_width * width, 4),
                "patch_height": round(patch_height * height, 4),
            },
            "heatmaps": [
                {
                    "word": heatmap.word.text,
                    "start": heatmap.word.start,
                    "end": heatmap.word.end,
                    "logprob": round(heatmap.word.logprob, 4),
                    "values": [[round(value, 6) for value in row] for row in heatmap.values.tolist()],
                }
                for heatmap in self.heatmaps
            ],
            "words_left_out": len(self.words) - len(self.heatmaps),
        }
