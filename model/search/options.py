"""How a caption is made: the table of generation options, and what holds between them.

A field of `GenerationOptions` is a row of that table, `OPTIONS`: its type, default, bounds and meaning.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from reprlib import repr as short
from typing import Annotated, Any, Literal, get_type_hints

from model.errors import OptionError
from model.search.option import Kind, Option

EarlyStopping = bool | Literal["never"]

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

    num_beams: Annotated[
        int,
        Option(
            Kind.INTEGER, "Hypotheses of the beam search; 1 is greedy search. Sampling has no beams.", least=1
        ),
    ] = 1
    num_captions: Annotated[
        int,
        Option(
            Kind.INTEGER,
            "Captions in the reply, best first: at most `num_beams`, or with `do_sample` that many samples.",
            least=1,
        ),
    ] = 1
    max_new_tokens: Annotated[
        int,
        Option(
            Kind.INTEGER,
            "Most tokens of a caption, the end token included. The model may have positions for fewer.",
            least=1,
        ),
    ] = 20
    min_new_tokens: Annotated[
        int,
        Option(
            Kind.INTEGER,
            "Fewest tokens of a caption, the end token included; at most `max_new_tokens`.",
            least=0,
        ),
    ] = 0
    # From −3 to 3, no score Σ log p / length^length_penalty leaves the range that float32 can rank.
    length_penalty: Annotated[
        float,
        Option(
            Kind.NUMBER,
            "Above 0 favours longer captions: a score is divided by the number of tokens to this power.",
            least=-3,
            most=3,
        ),
    ] = 1.0
    early_stopping: Annotated[
        EarlyStopping,
        Option(
            Kind.BOOLEAN,
            "When a search ends: `true` at `num_beams` finished hypotheses; `false` also once no live one "
            'could beat them at its present length; `"never"` only once none could at any length.',
            choices=("never",),
        ),
    ] = False
    no_repeat_ngram_size: Annotated[
        int, Option(Kind.INTEGER, "No sequence of so many tokens occurs twice; 0 turns it off.", least=0)
    ] = 0
    # Keskar et al., 2019, section 4.1.
    repetition_penalty: Annotated[
        float,
        Option(
            Kind.NUMBER,
            "Divides the odds of tokens already used: above 1 makes them less likely; 1 turns it off.",
            least=0.1,
            most=10,
        ),
    ] = 1.0
    do_sample: Annotated[
        bool, Option(Kind.BOOLEAN, "Draw captions at random instead of searching for the likeliest.")
    ] = False
    temperature: Annotated[
        float,
        Option(
            Kind.NUMBER,
            "With `do_sample`: divides the logits; below 1 likely tokens become likelier.",
            least=0.01,
            most=10,
            sampling=True,
        ),
    ] = 1.0
    top_k: Annotated[
        int,
        Option(
            Kind.INTEGER,
            "With `do_sample`: only so many of the likeliest tokens are drawn from; 0 turns it off.",
            least=0,
            sampling=True,
        ),
    ] = 50
    top_p: Annotated[
        float,
        Option(
            Kind.NUMBER,
            "With `do_sample`: only the fewest of the likeliest tokens that together have this probability.",
            least=0.01,
            most=1,
            sampling=True,
        ),
    ] = 1.0
    seed: Annotated[
        int | None,
        Option(
            Kind.INTEGER,
            "With `do_sample`: the same seed draws the same caption of the same photo; without one, "
            "another is drawn each time.",
            least=0,
            most=2**32 - 1,
            sampling=True,
        ),
    ] = None

    def __post_init__(self) -> None:
        for kind in (Kind.INTEGER, Kind.NUMBER):
            for name, option in OPTIONS.items():
                value = getattr(self, name)
                if option.kind is kind and not (name == "seed" and value is None):
                    option.check(name, value)
        OPTIONS["do_sample"].check("do_sample", self.do_sample)
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
        OPTIONS["early_stopping"].check("early_stopping", self.early_stopping)

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


OPTIONS: Mapping[str, Option] = {
    name: hint.__metadata__[0]
    for name, hint in get_type_hints(GenerationOptions, include_extras=True).items()
}
"""The rows of the table, by the options' names."""

SAMPLING = frozenset(name for name, option in OPTIONS.items() if option.sampling)
"""Options that mean something only with `do_sample`."""


def nearest(name: str, known: list[str]) -> str:
    """Return the end of a message about an unknown name: the known one that is meant, or all of them."""
    close = get_close_matches(name[:100], known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(known))}"
