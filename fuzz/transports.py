"""Ways that a photo of any kind travels: as the raw body, in a form, in JSON, with headers, over gRPC."""

import json
from random import Random
from urllib.parse import quote

from fuzz.case import MODEL, PREDICTIONS, Case, Own
from fuzz.documents import as_json, tensors, text_of
from fuzz.forms import form, photo_part
from fuzz.mutations import mutated
from fuzz.values import as_bytes, as_text, fields
from handler.parse.fields import FIELDS

TYPES = ("", "application/octet-stream", "image/jpeg", "image/png", "application/pdf", "x")
HEADERS_LIMIT = 8192
"""Bytes of headers that Netty takes, all together."""
HEADROOM = 1024
"""Of these, for the request line and the headers that every request has."""
FORMS = (*FIELDS["form"].choices, "svg")
METHODS = ("attention",) * 8 + (*FIELDS["method"].choices, "psychic", "")


def raw(photo: bytes, rng: Random) -> Case:
    """Send a photo as the body."""
    kind = rng.choice(TYPES)
    path = rng.choice((PREDICTIONS, PREDICTIONS, f"{PREDICTIONS}/1.0", f"/invocations?model_name={MODEL}"))
    return Case(photo, {"Content-Type": kind} if kind else {}, path)


def anyhow(photo: bytes, rng: Random) -> Case:
    """Send a photo in one of four ways, in a right form."""
    match rng.randrange(8):
        case 0:
            return form([photo_part(photo, rng.choice(("image", "data", "body")))])
        case 1:
            return as_json({"image": text_of(photo)})
        case 2:
            return Case(inputs={rng.choice(("image", "data", "body")): photo})
        case _:
            return raw(photo, rng)


def headers_case(photo: bytes, rng: Random) -> Case:
    """Send fields as headers; where they are too long for Netty, or hold a NUL, it may refuse them."""
    headers = {}
    for name, value in fields(rng).items():
        data = as_text(value).encode(errors="replace")
        text = quote(data) if rng.random() < 0.5 else data.decode("latin-1")
        header = quote(f"X-Caption-{name.replace('_', '-')}", safe="")
        headers[header] = text.translate({ord(end): " " for end in "\r\n"}).strip()
    size = sum(len(name) + len(value) + 4 for name, value in headers.items())
    control = any(ord(letter) < 32 for value in headers.values() for letter in value)
    bad = size > HEADERS_LIMIT - HEADROOM or control
    return Case(photo, headers, own=frozenset({Own.BAD_HEADERS}) if bad else frozenset())


def grpc_case(photo: bytes, rng: Random) -> Case:
    """Send inputs over gRPC: names and values of any kind, none at all, JSON as the body."""
    match rng.randrange(5):
        case 0:
            return Case(inputs={})
        case 1:
            return Case(inputs={"body": mutated(json.dumps(tensors(photo, rng)).encode(), rng)})
        case 2:
            return Case(inputs=dict.fromkeys(rng.sample(("image", "data", "body"), 2), photo))
        case _:
            named = {name: as_bytes(value) for name, value in fields(rng).items()}
            return Case(inputs={**named, "image": photo})


def explanation_case(photo: bytes, rng: Random) -> Case:
    """Ask for heatmaps; most of them by the method that costs little."""
    chosen: dict[str, object] = {"method": rng.choice(METHODS), "form": rng.choice(FORMS)}
    if rng.random() < 0.3:
        chosen |= fields(rng)
    elif chosen["method"] in {"occlusion", "integrated_gradients"}:
        chosen["caption"] = "a dog"  # two words to explain
    if rng.random() < 0.2:
        photo = mutated(photo, rng)
    entry = {"image": text_of(photo), **chosen}
    path, document = rng.choice(
        (
            (f"/explanations/{MODEL}", entry),
            (f"/v1/models/{MODEL}:explain", {"instances": [entry]}),
            (PREDICTIONS, {**entry, "explain": True}),
        )
    )
    return as_json(document, path)
