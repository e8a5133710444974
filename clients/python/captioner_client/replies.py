"""What a server says of a photo. Names and meanings are those of its API."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Token:
    """What a token adds to a caption's text, and its natural log-probability (at most 0).

    The end token comes last and adds nothing.
    """

    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class Word:
    """A word: the caption's characters from `start` to before `end`, in Unicode code points.

    `tokens` are the places of its tokens in the caption's; `logprob` is the sum of theirs.
    """

    text: str
    start: int
    end: int
    tokens: tuple[int, ...]
    logprob: float


@dataclass(frozen=True, slots=True)
class Caption:
    """One caption. Scores rank the captions of one photo; they are no calibrated probabilities."""

    caption: str
    score: float
    tokens: tuple[Token, ...]
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height in pixels of a photo that was turned upright."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Grid:
    """Patches from the photo's top left corner, and the size of one in pixels of the photo."""

    rows: int
    columns: int
    patch_width: float
    patch_height: float


@dataclass(frozen=True, slots=True)
class Heatmap:
    """A word of the best caption, and by the explanation's form its picture or its values.

    `png` is an encoded picture; `values` is rows × columns, from the photo's top. Both are None where one
    picture has all words.
    """

    word: str
    start: int
    end: int
    logprob: float
    png: bytes | None = None
    values: tuple[tuple[float, ...], ...] | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Heatmaps of the words of the best caption: what the model used of the photo.

    `png` is the picture of all words, with the form `grid`; `words_left_out` got no heatmap.
    """

    form: str
    method: str
    meaning: str
    photo: Size
    grid: Grid
    heatmaps: tuple[Heatmap, ...]
    words_left_out: int
    png: bytes | None = None


@dataclass(frozen=True, slots=True)
class Timings:
    """What the parts of the work took, in ms; of several photos at once, the time of all of them."""

    decode: float
    encode: float
    generate: float
    explain: float


@dataclass(frozen=True, slots=True)
class Model:
    """Which model answered."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What came out for one photo: the best caption and its score, and all captions, best first."""

    caption: str
    score: float
    captions: tuple[Caption, ...]
    model: Model
    explanation: Explanation | None = None
    timings: Timings | None = None
