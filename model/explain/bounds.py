"""How much one explanation may cost, so that it cannot starve the captions beside it."""

import math
from dataclasses import dataclass

from model.errors import ConfigError

GRADIENT_STEPS = 20
"""Points of the path that integrated gradients evaluate for each word."""


@dataclass(frozen=True, slots=True)
class ExplainBounds:
    """Bounds of one explanation, and what is cut, or refused, where it would pass them."""

    max_words: int = 32
    """The first so many words of a caption get a heatmap, the others none."""
    max_passes: int = 512
    """Photos, perturbed ones included, that the encoder may see. Occlusion takes larger windows
    where there would be more; integrated gradients explain fewer words."""
    max_seconds: float = math.inf
    """Integrated gradients begin no other word once so much time went by; the words left get none.
    Occlusion ends in ExplanationTimeout: it has no map of a word before it has those of all."""
    batch: int = 8
    """Perturbed photos in memory at once."""

    def __post_init__(self) -> None:
        least = {"max_words": 1, "max_passes": GRADIENT_STEPS, "batch": 1}
        for name, bound in least.items():
            value = getattr(self, name)
            if type(value) is not int or value < bound:
                raise ConfigError(f"{name} is {value!r}: an integer of at least {bound} is needed")
        if not self.max_seconds >= 0:
            raise ConfigError(f"max_seconds is {self.max_seconds!r}: a number of at least 0 is needed")
