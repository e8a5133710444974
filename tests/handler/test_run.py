"""Photos of a batch that ask for different things."""

from dataclasses import replace

from handler.captioner_handler import CaptionerHandler
from handler.photo import PhotoRequest, PhotoResult, PreparedPhoto
from handler.prepare import prepare
from handler.run import caption
from model.search.options import GenerationOptions
from tests.tiny import photo

SAMPLE = GenerationOptions(do_sample=True, num_captions=3, max_new_tokens=10, temperature=1.5)


def prepared(handler: CaptionerHandler, seed: int, options: GenerationOptions) -> PreparedPhoto:
    (found,) = prepare([PhotoRequest(photo(seed), options)], handler.captioner, handler.settings)
    assert isinstance(found, PreparedPhoto)
    return found


def test_the_same_seed_gives_the_same_caption_whatever_the_batch(handler: CaptionerHandler) -> None:
    sampled = [prepared(handler, seed, replace(SAMPLE, seed=seed)) for seed in range(12)]
    company = [
        prepared(handler, seed, GenerationOptions(num_beams=2, max_new_tokens=10)) for seed in range(12)
    ]
    alone = [caption(handler.captioner, [one])[0] for one in sampled]
    together = caption(handler.captioner, [*company, *sampled[::-1]])[: len(company) - 1 : -1]
    for one, other in zip(alone, together, strict=True):
        assert isinstance(one, PhotoResult)
        assert isinstance(other, PhotoResult)
        assert one.captions == other.captions  # to the last bit of their scores
    said = {found.text for one in alone if isinstance(one, PhotoResult) for found in one.captions}
    assert len(said) > 24
