"""JSON bodies: one photo, instances, tensors, with any part of them deformed; base64 and JSON broken."""

import base64
import json
from collections.abc import Mapping
from random import Random

from fuzz.case import MODEL, PREDICTIONS, Case
from fuzz.mutations import mutated
from fuzz.values import fields, hostile

TYPES = (
    "application/json",
    "application/json",
    "application/json; charset=utf-8",
    "text/plain",
    "image/png",
    "",
)
LARGEST = 10_000_000
"""Bytes that a deformed document may have at most: doubled parts grow it."""
NUMBERS = ("NaN", "-Infinity", "1e999", "-0", "9" * 4300, "9" * 4301, "1" + "0" * 400 + ".5", "0.1e-99999")


def text_of(photo: bytes) -> str:
    """Write a photo as base64."""
    return base64.b64encode(photo).decode()


def single(photo: bytes, rng: Random) -> dict[str, object]:
    """Build a valid body of one photo."""
    text = text_of(photo)
    value = rng.choice((text, f"data:image/png;base64,{text}", {"b64": text}))
    return {rng.choice(("image", "data", "b64")): value}


def instances(photo: bytes, rng: Random) -> dict[str, object]:
    """Build a valid body of version 1 of KServe's protocol."""
    return {
        "instances": [rng.choice((single(photo, rng), text_of(photo))) for _ in range(rng.choice((1, 2, 8)))]
    }


def tensors(photo: bytes, rng: Random) -> dict[str, object]:
    """Build a valid body of version 2 of KServe's protocol."""
    count = rng.choice((1, 2, 4))
    tensor = {"name": "photo", "datatype": "BYTES", "shape": [count], "data": [text_of(photo)] * count}
    document: dict[str, object] = {"inputs": [tensor] * rng.choice((1, 2))}
    if rng.random() < 0.3:
        document["id"] = rng.choice(("7", "é" * 100))
    if rng.random() < 0.3:
        document["outputs"] = [{"name": name} for name in rng.choice((["caption"], ["score", "reply"]))]
    return document


def deformed(value: object, rng: Random) -> object:
    """Change one part of a document, at any depth."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        return deformed_object(value, rng)
    if isinstance(value, list) and value and rng.random() < 0.8:
        return deformed_list(value, rng)
    if isinstance(value, str) and rng.random() < 0.5:
        return broken_text(value, rng)
    return rng.choice((hostile(rng), [value], {"b64": value}))


def deformed_object(value: dict[str, object], rng: Random) -> dict[str, object]:
    """Drop, add, rename or change a member."""
    key = rng.choice(list(value))
    rest = {name: part for name, part in value.items() if name != key}
    match rng.randrange(6):
        case 0:
            return rest
        case 1:
            return {**value, **fields(rng)}
        case 2:
            return {**rest, rng.choice(("", "Image", "instances", "inputs", "data", "\0")): value[key]}
        case _:
            return {**rest, key: deformed(value[key], rng)}


def deformed_list(value: list[object], rng: Random) -> list[object]:
    """Repeat, cut or change elements."""
    place = rng.randrange(len(value))
    match rng.randrange(4):
        case 0:
            return value * rng.choice((2, 9, 100))
        case 1:
            return value[:place]
        case _:
            return [*value[:place], deformed(value[place], rng), *value[place + 1 :]]


def broken_text(text: str, rng: Random) -> str:
    """Break base64 or a data: URL."""
    place = rng.randrange(len(text) + 1)
    return rng.choice(
        (
            text[:place],
            text[:place] + rng.choice(("=", "\n", " ", "-", "é", "\0", "\ud83d", "====")) + text[place:],
            text.replace("/", "_").replace("+", "-"),
            rng.choice(("data:", "data:,", "data:image/png;base64", "data:;;;;base64,", "DATA:;BASE64,"))
            + text,
            "data:" + ";a" * rng.choice((10, 10_000)) + text,
            rng.choice(("file:///etc/passwd", "http://127.0.0.1:1/a.jpg", "s3://a/b", "/etc/passwd")),
            text * rng.choice((2, 20)),
        )
    )


def broken_json(text: str, rng: Random) -> bytes:
    """Break a document's text, or write it as few do."""
    place = rng.randrange(len(text))
    opened = text[:-1]
    number = f', "{rng.choice(("seed", "top_p", "top_k"))}": {rng.choice(NUMBERS)}}}'
    letters = rng.choice((r"\ud800", r"\u0000", r"\x", r"\uD83D\uDC15", r"\uD83D \uDC15"))
    around = rng.choice((" " * 70, "\n", "\v", "//\n", "("))
    return rng.choice(
        (
            mutated(text.encode(), rng),
            text[:place].encode(),
            f"{opened}, {text[1:]}".encode(),  # the same keys twice
            nested(text, rng).encode(),
            (opened + number).encode(),
            text.encode(rng.choice(("utf-16", "utf-32", "utf-8-sig"))),
            f'{opened}, "prompt": "'.encode() + rng.randbytes(8) + b'"}',
            f'{opened}, "prompt": "{letters}"}}'.encode(),
            (around + text + rng.choice(("", ",", text))).encode(),
        )
    )


def nested(text: str, rng: Random) -> str:
    """Put something into many lists or objects, closed or not."""
    depth = rng.choice((5, 900, 1_100, 200_000))
    opening, closing = rng.choice((("[", "]"), ('{"image":', "}"), ('{"instances":[', "]}")))
    return opening * depth + rng.choice(("1", "", text)) + closing * rng.choice((depth, 0))


def as_case(body: bytes, rng: Random, path: str) -> Case:
    """Send a JSON body under some content type."""
    kind = rng.choice(TYPES)
    return Case(body, {"Content-Type": kind} if kind else {}, path)


def as_json(document: Mapping[str, object], path: str = PREDICTIONS) -> Case:
    """Send a document as it is."""
    return Case(json.dumps(document).encode(), {"Content-Type": "application/json"}, path)


def document_case(document: dict[str, object], rng: Random, path: str) -> Case:
    """Deform a valid document up to twice and send it."""
    changed: object = document
    for _ in range(rng.randrange(3)):
        changed = deformed(changed, rng)
    body = json.dumps(changed, ensure_ascii=rng.random() < 0.5).encode(errors="surrogatepass")
    if len(body) > LARGEST:
        body = body[:LARGEST]
    return as_case(body, rng, path)


def single_case(photo: bytes, rng: Random) -> Case:
    """Send one photo, with options."""
    return document_case({**single(photo, rng), "options": fields(rng)}, rng, PREDICTIONS)


def base64_case(photo: bytes, rng: Random) -> Case:
    """Break what holds the photo."""
    text = broken_text(text_of(photo), rng)
    body = json.dumps({"image": rng.choice((text, {"b64": text}))}).encode()
    return as_case(body, rng, PREDICTIONS)


def json_case(photo: bytes, rng: Random) -> Case:
    """Break JSON itself."""
    document = rng.choice((single, instances, tensors))(photo, rng)
    return as_case(broken_json(json.dumps(document), rng), rng, PREDICTIONS)


def instances_case(photo: bytes, rng: Random) -> Case:
    """Send version 1 of KServe's protocol."""
    path = rng.choice((f"/v1/models/{MODEL}:predict", PREDICTIONS))
    return document_case(instances(photo, rng), rng, path)


def tensors_case(photo: bytes, rng: Random) -> Case:
    """Send version 2 of KServe's protocol."""
    path = rng.choice((f"/v2/models/{MODEL}/infer", PREDICTIONS))
    return document_case(tensors(photo, rng), rng, path)
