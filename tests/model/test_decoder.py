"""Decoding token by token with a cache gives the logits of decoding everything at once."""

from functools import partial

import pytest
import torch
from torch import Tensor

from model.network.cache import SelfAttentionCache
from model.network.config import GPT2Config
from model.network.decoder import Decoder
from model.network.gpt2 import gpt2_decoder

IMAGES, SOURCE, VOCABULARY, LONGEST = 3, 5, 30, 9
assert_close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)


@pytest.fixture(params=[False, True], ids=["plain scale", "scale by layer"])
def decoder(request: pytest.FixtureRequest) -> Decoder:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=LONGEST,
        n_embd=32,
        n_layer=3,
        n_head=4,
        scale_attn_by_inverse_layer_idx=request.param,
    )
    decoder = gpt2_decoder(config, tied=True).eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return decoder


def image_tokens(decoder: Decoder) -> Tensor:
    return torch.randn(IMAGES, SOURCE, decoder.embedding.tokens.embedding_dim)


def words(rows: int, length: int) -> Tensor:
    return torch.randint(VOCABULARY, (rows, length))


@torch.inference_mode()
@pytest.mark.parametrize("rows", [1, 4], ids=["1 row an image", "4 rows an image"])
def test_one_token_at_a_time(decoder: Decoder, rows: int) -> None:
    cross = decoder.cross_keys_values(image_tokens(decoder))
    tokens = words(IMAGES * rows, LONGEST)
    at_once = decoder(tokens, cross)
    cache = decoder.new_cache(IMAGES * rows, LONGEST)
    for position in range(LONGEST):
        step = decoder.step(tokens[:, position : position + 1], cross, cache)
        assert_close(step, at_once[:, position])
        assert cache.length == position + 1


@torch.inference_mode()
def test_a_prompt_of_several_tokens_then_one_at_a_time(decoder: Decoder) -> None:
    cross = decoder.cross_keys_values(image_tokens(decoder))
    tokens = words(IMAGES, 7)
    at_once = decoder(tokens, cross)
    cache = decoder.new_cache(IMAGES, 7)
    assert_close(decoder.step(tokens[:, :4], cross, cache), at_once[:, 3])
    for position in range(4, 7):
        step = decoder.step(tokens[:, position : position + 1], cross, cache)
        assert_close(step, at_once[:, position])


@torch.inference_mode()
def test_rows_multiply_and_change_places(decoder: Decoder) -> None:
    """One row an image becomes four, which then swap, die and double, as beams do."""
    cross = decoder.cross_keys_values(image_tokens(decoder))
    beams = 4
    prefixes = words(IMAGES, 2)
    cache = decoder.new_cache(IMAGES * beams, LONGEST)
    step = decoder.step(prefixes, cross, cache)
    assert_close(step, decoder(prefixes, cross)[:, -1])
    rows = torch.arange(IMAGES).repeat_interleave(beams)
    for seed in range(2, LONGEST):
        cache.select(rows)
        prefixes = torch.cat([prefixes[rows], words(IMAGES * beams, 1)], dim=1)
        step = decoder.step(prefixes[:, -1:], cross, cache)
        assert_close(step, decoder(prefixes, cross)[:, -1])
        inside = torch.randint(beams, (IMAGES, beams), generator=torch.Generator().manual_seed(seed))
        rows = (torch.arange(IMAGES)[:, None] * beams + inside).flatten()
        assert rows.tolist() != list(range(IMAGES * beams))


@torch.inference_mode()
@pytest.mark.parametrize("beams", [1, 2])
def test_images_that_are_done_leave(decoder: Decoder, beams: int) -> None:
    """The second of three at once, the first of the other two a step later, while beams change places."""
    images, prefixes = image_tokens(decoder), words(IMAGES, 2)
    step = decoder.stepper(images, IMAGES * beams, LONGEST)
    step(prefixes, None)
    left = [0, 2]
    rows = torch.tensor(left).repeat_interleave(beams)
    for _ in range(3):
        prefixes = torch.cat([prefixes[rows], words(len(rows), 1)], dim=1)
        found = step(prefixes[:, -1:], rows)
        assert_close(found, decoder(prefixes, decoder.cross_keys_values(images[left]))[:, -1])
        rows = torch.arange(len(rows)).flip(0)[:beams]  # the last image's
        left = [2]


@torch.inference_mode()
def test_no_token_sees_what_follows_it(decoder: Decoder) -> None:
    cross = decoder.cross_keys_values(image_tokens(decoder))
    tokens = words(IMAGES, 6)
    other = tokens.clone()
    other[:, 4:] = (other[:, 4:] + 1) % VOCABULARY
    before, after = decoder(tokens, cross), decoder(other, cross)
    assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:], atol=0.1)


@torch.inference_mode()
def test_each_row_sees_its_own_image_only(decoder: Decoder) -> None:
    images, tokens = image_tokens(decoder), words(IMAGES * 2, 4)
    together = decoder(tokens, decoder.cross_keys_values(images))
    for image in range(IMAGES):
        rows = slice(2 * image, 2 * image + 2)
        alone = decoder(tokens[rows], decoder.cross_keys_values(images[image : image + 1]))
        assert_close(together[rows], alone)
    assert not torch.allclose(
        together[:2], decoder(tokens[:2], decoder.cross_keys_values(images[1:2])), atol=0.1
    )


def test_the_cache_takes_the_dtype_of_the_weights() -> None:
    cache = SelfAttentionCache(
        layers=1, rows=2, heads=1, positions=3, width=4, like=torch.empty(0, dtype=torch.bfloat16)
    )
    entries = torch.randn(2, 2, 1, 1, 4, dtype=torch.bfloat16)
    keys, values = cache.append(0, entries)
    assert keys.dtype == values.dtype == torch.bfloat16
    assert torch.equal(keys, entries[0])
    assert torch.equal(values, entries[1])


@torch.inference_mode()
def test_several_tokens_need_an_empty_cache(decoder: Decoder) -> None:
    cross = decoder.cross_keys_values(image_tokens(decoder))
    cache = decoder.new_cache(IMAGES, LONGEST)
    decoder.step(words(IMAGES, 3), cross, cache)
    with pytest.raises(ValueError, match="empty cache"):
        decoder.step(words(IMAGES, 2), cross, cache)
