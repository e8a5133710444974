"""How a caption is searched for: the generation options, their defaults and their bounds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from model.errors import OptionError

EarlyStopping = bool | Literal["never"]


@dataclass(frozen=True, slots=True)
class BeamOptions:
    """Beam search options, named and meant as in Hugging Face's `GenerationConfig`.

    Lengths count new tokens: the end token is included, the start token and a prompt are not.
    """

    num_beams: int = 1
    """Hypotheses kept at each step; 1 is greedy search."""
    num_captions: int = 1
    """Finished hypotheses returned, best first; at most `num_beams`."""
    max_new_tokens: int = 20
    min_new_tokens: int = 0
    """The end token is not allowed before this many new tokens."""
    length_penalty: float = 1.0
    """A hypothesis scores Σ log p / length^length_penalty: above 0 favours longer captions.
    From −3 to 3, where no score leaves the range that float32 can rank."""
    early_stopping: EarlyStopping = False
    """True: stop at `num_beams` finished hypotheses. False: also once no live one could beat
    them at its present length. "never": only once none could at any length."""
    no_repeat_ngram_size: int = 0
    """No n-gram of this size occurs twice; 0 turns it off."""
    repetition_penalty: float = 1.0
    """Divides the odds of tokens already used (Keskar et al., 2019, section 4.1); 1 turns it off.
    From 0.1 to 10."""

    def __post_init__(self) -> None:
        self._integer("num_beams", 1)
        self._integer("num_captions", 1)
        self._integer("max_new_tokens", 1)
        self._integer("min_new_tokens", 0)
        self._integer("no_repeat_ngram_size", 0)
        self._number("length_penalty", -3, 3)
        self._number("repetition_penalty", 0.1, 10)
        if self.num_captions > self.num_beams:
            raise OptionError(
                "num_captions", f"{self.num_captions} is more than num_beams ({self.num_beams})"
            )
        if self.min_new_tokens > self.max_new_tokens:
            raise OptionError(
                "min_new_tokens", f"{self.min_new_tokens} is more than max_new_tokens ({self.max_new_tokens})"
            )
        if not isinstance(self.early_stopping, bool) and self.early_stopping != "never":
            raise OptionError("early_stopping", f'{self.early_stopping!r} is not true, false or "never"')

    def replace(self, **overrides: object) -> "BeamOptions":
        """Return a copy with some options changed; raises OptionError for an unknown or bad one."""
        known = {field.name for field in fields(self)}
        for name in overrides:
            if name not in known:
                raise OptionError(name, f"is not an option; known are {', '.join(sorted(known))}")
        return replace(self, **overrides)  # type: ignore[arg-type]  # __post_init__ checks them

    @classmethod
    def from_generation_config(cls, raw: Mapping[str, Any]) -> "BeamOptions":
        """Read Hugging Face's `generation_config.json`; what it leaves out has the defaults above.

        Its `max_length` and `min_length` count the start token, which is one token here.
        """
        values = {field.name: raw[field.name] for field in fields(cls) if raw.get(field.name) is not None}
        if raw.get("num_return_sequences") is not None:
            values["num_captions"] = raw["num_return_sequences"]
        for ours, theirs in (("max_new_tokens", "max_length"), ("min_new_tokens", "min_length")):
            total = raw.get(theirs)
            if ours in values or total is None:
                continue
            if not isinstance(total, int):
                raise OptionError(theirs, f"{total!r} is not an integer")
            values[ours] = max(0, total - 1)
        return cls(**values)

    def to_generation_config(self) -> dict[str, Any]:
        """Return these options under the names of Hugging Face's `generation_config.json`."""
        values = asdict(self)
        values["num_return_sequences"] = values.pop("num_captions")
        return values

    def _integer(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise OptionError(name, f"{value!r} is not an integer of at least {least}")

    def _number(self, name: str, least: float, most: float) -> None:
        value = getattr(self, name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
            raise OptionError(name, f"{value!r} is not a number from {least} to {most}")
