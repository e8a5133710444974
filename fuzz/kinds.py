"""The kinds of cases, how often each comes, and the case that a seed and a number stand for."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from random import Random

from fuzz import documents, forms, transports
from fuzz.bombs import COSTLY, MB, bomb
from fuzz.case import MODEL, Case, Own
from fuzz.chunks import rearranged
from fuzz.mutations import mutated
from fuzz.seeds import FORMATS, OTHERS, valid
from handler.policy import MOST
from handler.settings import MAX_PHOTOS

REQUEST_LIMIT = 22_020_096
"""max_request_size in config.properties, in bytes."""


def photo(rng: Random) -> bytes:
    """Choose a small valid photo."""
    return valid(rng, rng.choice(FORMATS))


def damaged(encoding: str) -> Callable[[Random], Case]:
    """Make a generator of damaged files of one format."""

    def generate(rng: Random) -> Case:
        data = valid(rng, encoding)
        data = rearranged(data, encoding, rng) if rng.random() < 0.5 else mutated(data, rng)
        return transports.anyhow(data, rng)

    return generate


def with_photo(generate: Callable[[bytes, Random], Case]) -> Callable[[Random], Case]:
    """Make a generator from one that needs a photo, a damaged one now and then."""

    def generate_with_photo(rng: Random) -> Case:
        data = photo(rng)
        return generate(mutated(data, rng) if rng.random() < 0.1 else data, rng)

    return generate_with_photo


def modes(rng: Random) -> Case:
    """Send a valid file in one of the modes that its format holds."""
    return transports.anyhow(photo(rng), rng)


def other_files(rng: Random) -> Case:
    """Send what is no photo of a known format: other formats, text, noise."""
    data = rng.choice(
        (
            valid(rng, rng.choice(OTHERS)),
            rng.randbytes(2 ** rng.randrange(16)),
            rng.choice((b"%PDF-1.7", b"<svg/>", b"PK\3\4", b"\x7fELF", b"\0", b"[", b"{", b"\xff\xd8\xff")),
            photo(rng)[: rng.randrange(16)] + rng.randbytes(100),
        )
    )
    return transports.anyhow(data, rng)


def bombs(rng: Random) -> Case:
    """Send a file that would become large."""
    return transports.anyhow(bomb(rng), rng)


def sizes(rng: Random) -> Case:
    """Send nothing at all, or MB behind, before or instead of a photo; more than the server takes, too."""
    size = rng.choice((0, 0, 0, 1, 1000, MB, MB, 4 * MB, 20 * MB, REQUEST_LIMIT, REQUEST_LIMIT + 1, 24 * MB))
    if size == 0:
        return transports.anyhow(b"", rng)
    start = rng.choice((b"", photo(rng), b'{"image": "', b"\xff\xd8\xff\xe0"))
    data = start + bytes(size - len(start)) if size > len(start) else start
    if size > REQUEST_LIMIT:
        return Case(data, {"Content-Type": "image/png"})
    return transports.raw(data, rng)


KINDS: Mapping[str, tuple[int, Callable[[Random], Case]]] = {
    "JPEG": (12, damaged("JPEG")),
    "PNG": (12, damaged("PNG")),
    "WebP": (8, damaged("WEBP")),
    "GIF": (8, damaged("GIF")),
    "TIFF": (10, damaged("TIFF")),
    "BMP": (3, damaged("BMP")),
    "AVIF": (3, damaged("AVIF")),
    "modes": (6, modes),
    "other files": (2, other_files),
    "bombs": (4, bombs),
    "sizes": (1, sizes),
    "base64": (4, with_photo(documents.base64_case)),
    "JSON": (5, with_photo(documents.json_case)),
    "JSON fields": (4, with_photo(documents.single_case)),
    "instances": (2, with_photo(documents.instances_case)),
    "tensors": (2, with_photo(documents.tensors_case)),
    "multipart": (5, with_photo(forms.multipart_case)),
    "form fields": (3, with_photo(forms.options_case)),
    "headers": (2, with_photo(transports.headers_case)),
    "gRPC": (3, with_photo(transports.grpc_case)),
    "explanations": (1, with_photo(transports.explanation_case)),
}
"""Percent of all cases, and the generator."""


def heaviest(photo: bytes) -> Iterator[Case]:
    """Yield what takes most memory: photos as large as is allowed, and the costly ways to explain one."""
    for build in COSTLY:
        yield Case(build(Random(0)))
    for method in ("occlusion", "integrated_gradients"):
        yield Case(photo, {"X-Caption-Method": method}, f"/explanations/{MODEL}")
    yield from searches(photo)


def searches(photo: bytes) -> Iterator[Case]:
    """Yield searches of every width, to their last step: a worker keeps what it compiles for each size."""
    text = documents.text_of(photo)
    for beams in range(1, MOST["num_beams"] + 1):
        for photos in range(1, MAX_PHOTOS + 1):
            body = {"instances": [text] * photos, "num_beams": beams, "min_new_tokens": 64}
            yield documents.as_json({**body, "max_new_tokens": 64})


def generate(seed: str, number: int) -> tuple[str, Case]:
    """Return kind and case: the same for the same seed and number."""
    rng = Random(f"{seed} {number}")
    [kind] = rng.choices(list(KINDS), weights=[weight for weight, _ in KINDS.values()])
    case = KINDS[kind][1](rng)
    if len(case.body) > REQUEST_LIMIT:
        case = replace(case, own=case.own | {Own.TOO_LARGE})
    return kind, case
