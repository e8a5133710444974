"""Multipart bodies, whole and broken."""

from collections.abc import Sequence
from random import Random

from fuzz.case import PREDICTIONS, Case, Own
from fuzz.mutations import mutated
from fuzz.values import as_bytes, fields

BOUNDARY = "----------------------------0123456789abcdef"
Part = tuple[bytes, bytes]
"""Header lines, each with its line end, and content."""

NAMED = b'Content-Disposition: form-data; name="image"'
HEADS = (
    b"Content-Disposition: form-data",
    b'Content-Disposition: attachment; name="image"',
    b"Content-Disposition: form-data; name*=utf-8''im%61ge",
    NAMED[:-1],
    NAMED + b"\r\nContent-Transfer-Encoding: base64",
    NAMED + b"\r\nContent-Transfer-Encoding: rot13",
    NAMED + b"\r\nContent-Type: text/plain; charset=utf-7",
    NAMED + b'; filename="../../a"',
    NAMED + b"\r\nX: " + b"y" * 100_000,
    b"X: y",
)
"""Header lines of a part that are wrong, or that few send."""


def photo_part(photo: bytes, name: str = "image") -> Part:
    """Build the part that holds the photo, as curl sends it."""
    lines = f'Content-Disposition: form-data; name="{name}"; filename="a.png"\r\nContent-Type: image/png\r\n'
    return lines.encode(), photo


def field_part(name: str, content: bytes) -> Part:
    """Build the part of a field; the name as browsers write it."""
    quoted = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    return f'Content-Disposition: form-data; name="{quoted}"\r\n'.encode(errors="surrogatepass"), content


def joined(parts: Sequence[Part], boundary: str = BOUNDARY) -> bytes:
    """Write parts as one body (RFC 2046, section 5.1)."""
    written = (f"--{boundary}\r\n".encode() + lines + b"\r\n" + content + b"\r\n" for lines, content in parts)
    return b"".join(written) + f"--{boundary}--\r\n".encode()


def form(parts: Sequence[Part], own: frozenset[Own] = frozenset()) -> Case:
    """Send parts without a fault in their form."""
    return Case(joined(parts), {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}, own=own)


def options_case(photo: bytes, rng: Random) -> Case:
    """Send a photo and fields of any value, in a form that is right but for empty names."""
    chosen = fields(rng)
    parts = [field_part(name, as_bytes(value)) for name, value in chosen.items()]
    parts.insert(rng.randrange(len(parts) + 1), photo_part(photo))
    nameless = any(not name.strip(" \0") for name in chosen)
    return form(parts, frozenset({Own.BAD_FORM}) if nameless else frozenset())


def multipart_case(photo: bytes, rng: Random) -> Case:
    """Send a form that is wrong in itself."""
    parts = [photo_part(photo), field_part("num_beams", b"2")]
    body, boundary = joined(parts), BOUNDARY
    match rng.randrange(9):
        case 0:
            body = body[: rng.randrange(len(body))]
        case 1:
            boundary = rng.choice(("wrong", "", '"', "x" * 2000, BOUNDARY[:-1], BOUNDARY + "0", "é"))
        case 2:
            body = joined([(lines.replace(b"name=", b"mane="), content) for lines, content in parts])
        case 3:
            body = joined(parts * rng.choice((2, 500)))
        case 4:
            body = joined([photo_part(photo, name) for name in rng.sample(("image", "data", "body", ""), 2)])
        case 5:
            lines = rng.choice(HEADS) + b"\r\n"
            body = joined([(lines, photo), parts[1]])
        case 6:  # a form within a form
            lines = NAMED + b"\r\nContent-Type: multipart/mixed; boundary=a\r\n"
            body = joined([(lines, joined([photo_part(photo)], "a"))])
        case 7:
            body = mutated(body, rng)
        case 8:
            body = b"image=" + body[: rng.randrange(len(body))]
            return Case(
                body, {"Content-Type": "application/x-www-form-urlencoded"}, own=frozenset({Own.BAD_FORM})
            )
    kind = f"multipart/{rng.choice(('form-data', 'form-data', 'mixed'))}; boundary={boundary}"
    if rng.random() < 0.05:
        kind = "multipart/form-data"
    return Case(body, {"Content-Type": kind}, PREDICTIONS, own=frozenset({Own.BAD_FORM}))
