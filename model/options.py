"""How a caption is made: the generation options, their defaults and their bounds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from reprlib import repr as short
from typing import Any, Literal

from model.errors import OptionError

EarlyStopping = bool | Literal["never"]

INTEGERS: Mapping[str, tuple[int, int | None]] = {
    "num_beams": (1, 16),
    "num_captions": (1, 16),
    "max_new_tokens": (1, None),
    "min_new_tokens": (0, None),
    "no_repeat_ngram_size": (0, None),
    "top_k": (0, None),
    "seed": (0, 2**32 - 1),
}
"""Least and greatest value; None: what the checkpoint's positions and vocabulary leave."""

NUMBERS: Mapping[str, tuple[float, float]] = {
    "length_penalty": (-3, 3),
    "repetition_penalty": (0.1, 10),
    "temperature": (0.01, 10),
    "top_p": (0.01, 1),
}

SAMPLING = frozenset({"temperature", "top_k", "top_p", "seed"})
"""Options that mean something only with `do_sample`."""

UNSUPPORTED: Mapping[str, object] = {
    "bad_words_ids": None,
    "begin_suppress_tokens": None,
    "constraints": None,
    "diversity_penalty": 0.0,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "exponential_decay_length_penalty": None,
    "force_words_ids": None,
    "forced_bos_token_id": None,
    "guidance_scale": 1.0,
    "num_beam_groups": 1,
    "penalty_alpha": 0.0,
    "renormalize_logits": False,
    "sequence_bias": None,
    "suppress_tokens": None,
}
"""Settings of transformers that change captions and do not exist here, and the value that is off."""

UNSUPPORTED_IN_SAMPLING: Mapping[str, object] = {
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "min_p": 0.0,
    "top_h": 1.0,
    "typical_p": 1.0,
}
"""The same, for those that count only with `do_sample`."""


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """Options of beam search and sampling, named and meant as in Hugging Face's `GenerationConfig`.

    Lengths count new tokens: the end token is included, the start token and a prompt are not.
    """

    num_beams: int = 1
    """Hypotheses kept at each step of a beam search; 1 is greedy search. Sampling has no beams."""
    num_captions: int = 1
    """Captions returned, best first: of a search at most `num_beams`, of sampling that many samples."""
    max_new_tokens: int = 20
    min_new_tokens: int = 0
    """The end token is not allowed before this many new tokens."""
    length_penalty: float = 1.0
    """A caption scores Σ log p / length^length_penalty: above 0 favours longer captions.
    From −3 to 3, where no score leaves the range that float32 can rank."""
    early_stopping: EarlyStopping = False
    """True: stop at `num_beams` finished hypotheses. False: also once no live one could beat
    them at its present length. "never": only once none could at any length."""
    no_repeat_ngram_size: int = 0
    """No n-gram of this size occurs twice; 0 turns it off."""
    repetition_penalty: float = 1.0
    """Divides the odds of tokens already used (Keskar et al., 2019, section 4.1); 1 turns it off."""
    do_sample: bool = False
    """Draw tokens at random instead of searching for the likeliest caption."""
    temperature: float = 1.0
    """Divides the logits: below 1 likely tokens become likelier."""
    top_k: int = 50
    """Only this many of the likeliest tokens can be drawn; 0 turns it off."""
    top_p: float = 1.0
    """Only the fewest of the likeliest tokens that together have this probability; 1 turns it off."""
    seed: int | None = None
    """The same seed draws the same caption of the same photo. None: another one each time."""

    def __post_init__(self) -> None:
        for name, (least, most) in INTEGERS.items():
            self._integer(name, least, most)
        for name, bounds in NUMBERS.items():
            self._number(name, *bounds)
        if not isinstance(self.do_sample, bool):
            raise OptionError("do_sample", f"{short(self.do_sample)} is not true or false")
        if self.do_sample and self.num_beams > 1:
            raise OptionError(
                "num_beams", f"{self.num_beams} is more than 1, and sampling (do_sample) has no beams"
            )
        if not self.do_sample and self.num_captions > self.num_beams:
            raise OptionError(
                "num_captions", f"{self.num_captions} is more than num_beams ({self.num_beams})"
            )
        if self.min_new_tokens > self.max_new_tokens:
            raise OptionError(
                "min_new_tokens",
                f"{short(self.min_new_tokens)} is more than max_new_tokens ({self.max_new_tokens})",
            )
        if not isinstance(self.early_stopping, bool) and self.early_stopping != "never":
            raise OptionError("early_stopping", f'{short(self.early_stopping)} is not true, false or "never"')

    def replace(self, **overrides: object) -> "GenerationOptions":
        """Return a copy with some options changed; raises OptionError for an unknown or bad one.

        Turning `do_sample` on sets `num_beams` to 1 unless that is among `overrides`.
        """
        known = [field.name for field in fields(self)]
        for name in overrides:
            if name not in known:
                raise OptionError(short(name).strip("'"), f"is not an option{nearest(name, known)}")
        if overrides.get("do_sample") is True:
            overrides.setdefault("num_beams", 1)
        return replace(self, **overrides)  # type: ignore[arg-type]  # __post_init__ checks them

    @classmethod
    def from_generation_config(cls, raw: Mapping[str, Any]) -> "GenerationOptions":
        """Read Hugging Face's `generation_config.json`; what it leaves out has the defaults above.

        Its `max_length` and `min_length` count the start token, which is one token here. Raises
        OptionError for a bad value, and for a setting that would change captions and is not
        supported.
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
        options = cls(**values)
        unsupported = {**UNSUPPORTED, **(UNSUPPORTED_IN_SAMPLING if options.do_sample else {})}
        for name, off in unsupported.items():
            if raw.get(name) not in (None, off, [], {}):
                raise OptionError(name, f"{short(raw[name])} in a generation config is not supported")
        return options

    def to_generation_config(self) -> dict[str, Any]:
        """Return these options under the names of Hugging Face's `generation_config.json`."""
        values = asdict(self)
        values["num_return_sequences"] = values.pop("num_captions")
        del values["seed"]  # no setting of theirs
        return values

    def _integer(self, name: str, least: int, most: int | None) -> None:
        value = getattr(self, name)
        if value is None and name == "seed":
            return
        whole = isinstance(value, int) and not isinstance(value, bool)
        if most is None:
            if not whole or value < least:
                raise OptionError(name, f"{short(value)} is not an integer of at least {least}")
        elif not whole or not least <= value <= most:
            raise OptionError(name, f"{short(value)} is not an integer from {least} to {most}")

    def _number(self, name: str, least: float, most: float) -> None:
        value = getattr(self, name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
            raise OptionError(name, f"{short(value)} is not a number from {least} to {most}")


def nearest(name: str, known: list[str]) -> str:
    """Return the end of a message about an unknown name: the known one that is meant, or all of them."""
    close = get_close_matches(name[:100], known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(known))}"
