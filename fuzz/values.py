"""Options and other fields: values that are allowed, that are just not, and that are nothing of the kind."""

import json
from collections.abc import Mapping, Sequence
from random import Random

ALLOWED: Mapping[str, Sequence[object]] = {
    "num_beams": (1, 2, 5, 16),
    "num_captions": (1, 2),
    "max_new_tokens": (1, 5, 30),
    "min_new_tokens": (0, 1, 5),
    "length_penalty": (-3, 0, 0.6, 3),
    "early_stopping": (True, False, "never"),
    "no_repeat_ngram_size": (0, 1, 3, 10**6),
    "repetition_penalty": (0.1, 1, 1.3, 10),
    "do_sample": (True, False),
    "temperature": (0.01, 1, 10),
    "top_k": (0, 1, 50, 10**9),
    "top_p": (0.01, 0.9, 1),
    "seed": (0, 7, 2**32 - 1),
    "prompt": ("", "a dog", "zwei Hunde 🐕", "\u202e", "a " * 10, "<|endoftext|>"),
    "timings": (True, False),
    "explain": (False,),
    "method": ("attention",),
    "form": ("png", "grid", "values"),
    "caption": ("a dog", "", "🐕" * 9),
}
"""Values that each field takes in the right company, none of them costly."""

NAMES = (*ALLOWED, "num_beans", "NUM_BEAMS", "options", "", " ", "\0", "__class__", "é" * 300, "x" * 5000)
NUMBERS = (0, -1, 1.5, 17, 65, 1e308, -0.0, 2**31, 2**63, -(2**63), 10**18, 10**40, 1e-320)
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
