"""Options and other fields: values that are allowed, that are just not, and that are nothing of the kind."""

import json
from collections.abc import Mapping, Sequence
from random import Random

from handler.parse.fields import FIELDS
from model.search.option import Kind, Option
from model.search.options import GenerationOptions

HUGE = 10**9
"""An integer for options that have no greatest value; where a server has one, it refuses this at once."""
CHEAP: Mapping[str, Sequence[object]] = {"explain": (False,), "method": ("attention",)}
"""Values of the fields that have costly ones."""
CAPTIONS = ("", "a dog", "zwei Hunde 🐕", "\u202e", "a " * 10, "🐕" * 9, "<|endoftext|>")


def allowed(name: str, option: Option) -> Sequence[object]:
    """Return values that a field takes in the right company: its bounds, the default, one between."""
    if option.kind is Kind.BOOLEAN:
        return (True, False, *option.choices)
    if option.kind is Kind.TEXT:
        return option.choices or CAPTIONS
    default = getattr(GenerationOptions(), name)
    most = HUGE if option.most is None else option.most
    between = option.least + 1 if option.kind is Kind.INTEGER else (option.least + most) / 2
    return (option.least, between, most, *(() if default is None else (default,)))


def just_beyond(option: Option) -> Sequence[float]:
    """Return the integers or numbers that are the first not to be allowed."""
    if option.kind not in (Kind.INTEGER, Kind.NUMBER):
        return ()
    step = 1 if option.kind is Kind.INTEGER else 0.001
    return (option.least - step, *(() if option.most is None else (option.most + step,)))


ALLOWED = {name: CHEAP.get(name) or allowed(name, option) for name, option in FIELDS.items()}
"""Field → values that it takes, none of them costly."""

NAMES = (*ALLOWED, "num_beans", "NUM_BEAMS", "options", "", " ", "\0", "__class__", "é" * 300, "x" * 5000)
BEYOND = tuple(sorted({value for option in FIELDS.values() for value in just_beyond(option)}))
NUMBERS = (*BEYOND, 0, -1, 1.5, 65, 1e308, -0.0, 2**31, 2**63, -(2**63), 10**18, 10**40, 1e-320)
TEXTS = (
    *("", " ", "NaN", "inf", "-Infinity", "0x10", "1_000", "٣", "³", "1e400", "9" * 5000, "null", "None"),
    *(
        "\0",
        "\ud800",
        "\ufeff1",
        "🐕" * 400,
        "a" * 100_000,
        "a " * 5_000,
        "${jndi:ldap://x}",
        "../../etc/passwd",
    ),
    *("' OR 1=1 --", "<script>", "%s%n%p", "{0.__class__}", "tRuE", "yes", "\n\r\t"),
)
OTHERS: Sequence[object] = (None, True, False, [], {}, [1], {"a": 1}, [[[]]], float("nan"), float("inf"))


def hostile(rng: Random) -> object:
    """Choose a value of any type that JSON has; `json.dumps` writes all of them."""
    return rng.choice(rng.choice((NUMBERS, TEXTS, OTHERS)))


def fields(rng: Random) -> dict[str, object]:
    """Choose 1 to 4 fields: most values are allowed for it, the others are anything."""
    chosen = rng.sample(NAMES if rng.random() < 0.3 else tuple(ALLOWED), rng.randrange(1, 5))
    return {
        name: rng.choice(ALLOWED[name]) if name in ALLOWED and rng.random() < 0.6 else hostile(rng)
        for name in chosen
    }


def as_text(value: object) -> str:
    """Write a value as a form field or a header would: JSON, but for text."""
    return value if isinstance(value, str) else json.dumps(value)


def as_bytes(value: object) -> bytes:
    """Write a value as text in UTF-8; half a surrogate pair becomes bytes that are none."""
    return as_text(value).encode(errors="surrogatepass")
