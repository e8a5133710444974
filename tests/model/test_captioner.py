"""The whole flow: a batch is its photos, scores are sums, texts are tokens."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image

from model.captioner import Caption, Captioner
from model.errors import CheckpointError, ImageTooLarge, NotAnImage, OptionError
from model.network.precision import best_dtype
from model.search.options import GenerationOptions
from tests.tiny import OPTIONS, photo

SEARCHES = [
    GenerationOptions(max_new_tokens=12),
    GenerationOptions(num_beams=4, num_captions=3, max_new_tokens=12),
    GenerationOptions(
        num_beams=3, num_captions=3, max_new_tokens=9, length_penalty=2.0, no_repeat_ngram_size=2
    ),
    GenerationOptions(
        num_beams=2, max_new_tokens=12, length_penalty=-0.5, early_stopping=True, min_new_tokens=2
    ),
    GenerationOptions(num_beams=5, max_new_tokens=16, repetition_penalty=1.3, early_stopping="never"),
]


@pytest.fixture(scope="module")
def photos(captioner: Captioner) -> list[torch.Tensor]:
    return [captioner.preprocess(photo(seed, size=(40 + seed, 64 - seed))) for seed in range(32)]


def texts(results: list[tuple[Caption, ...]]) -> list[list[str]]:
    return [[caption.text for caption in captions] for captions in results]


@pytest.mark.parametrize("options", SEARCHES)
def test_a_batch_says_what_its_photos_alone_say(
    captioner: Captioner, photos: list[torch.Tensor], options: GenerationOptions
) -> None:
    together = captioner.caption(photos, options)
    together = together[::3]  # from the first of the batch to the last but one
    alone = [captioner.caption([pixels], options)[0] for pixels in photos[::3]]
    assert texts(together) == texts(alone)
    for one, other in zip(together, alone, strict=True):
        assert len(one) == options.num_captions
        for batched, single in zip(one, other, strict=True):
            assert batched.score == pytest.approx(single.score, rel=1e-4, abs=1e-4)
            assert [token.text for token in batched.tokens] == [token.text for token in single.tokens]
            assert [token.logprob for token in batched.tokens] == pytest.approx(
                [token.logprob for token in single.tokens], abs=1e-4
            )


def test_a_long_prompt_is_refused_unread(
    captioner: Captioner, photos: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    encode = captioner.tokenizer.encode

    def noted(text: str) -> list[int]:
        read.append(text)
        return encode(text)

    monkeypatch.setattr(captioner.tokenizer, "encode", noted)
    with pytest.raises(OptionError, match="prompt: has 5000 characters"):
        captioner.caption(photos[:1], prompt="dogs " * 1000)
    assert read == []


def test_photos_are_told_apart(captioner: Captioner, photos: list[torch.Tensor]) -> None:
    """Guards the test above, which equal captions everywhere would pass."""
    best = [captions[0].text for captions in captioner.caption(photos, SEARCHES[1])]
    assert len(set(best)) > 8


@pytest.mark.parametrize("options", SEARCHES)
def test_scores_and_texts_are_made_of_the_tokens(
    captioner: Captioner, photos: list[torch.Tensor], options: GenerationOptions
) -> None:
    for captions in captioner.caption(photos, options):
        assert [c.score for c in captions] == sorted((c.score for c in captions), reverse=True)
        for caption in captions:
            assert 1 <= len(caption.tokens) <= options.max_new_tokens
            total = sum(token.logprob for token in caption.tokens)
            count = len(caption.tokens) ** options.length_penalty
            assert total == pytest.approx(caption.score * count, rel=1e-5)
            assert all(token.logprob <= 0 for token in caption.tokens)
            assert "".join(token.text for token in caption.tokens).strip() == caption.text


def test_the_end_token_counts_and_adds_no_text(captioner: Captioner, photos: list[torch.Tensor]) -> None:
    captions = [c for found in captioner.caption(photos, SEARCHES[1]) for c in found]
    ended = [c for c in captions if len(c.tokens) < SEARCHES[1].max_new_tokens]
    assert 0 < len(ended) < len(captions)
    ended = [c for c in ended if not c.text.endswith("�")]  # not cut off inside a character
    assert ended
    assert all(caption.tokens[-1].text == "" for caption in ended)
    assert not any("endoftext" in caption.text for caption in captions)


def test_the_checkpoints_own_options_are_the_default(
    captioner: Captioner, photos: list[torch.Tensor]
) -> None:
    assert captioner.options == OPTIONS
    assert texts(captioner.caption(photos[:3])) == texts(captioner.caption(photos[:3], OPTIONS))


def test_captions_begin_with_the_prompt(captioner: Captioner, photos: list[torch.Tensor]) -> None:
    options = GenerationOptions(num_beams=3, num_captions=3, max_new_tokens=6)
    for captions in captioner.caption(photos[:4], options, prompt="a dog"):
        for caption in captions:
            assert caption.text.startswith("a dog")
            new = "".join(token.text for token in caption.tokens)
            assert ("a dog" + new).strip() == caption.text
            total = sum(token.logprob for token in caption.tokens)
            assert caption.score == pytest.approx(total / len(caption.tokens), abs=1e-5)


def test_a_prompt_takes_positions_from_the_caption(captioner: Captioner, photos: list[torch.Tensor]) -> None:
    options = GenerationOptions(max_new_tokens=16)
    captioner.caption(photos[:1], options)
    with pytest.raises(OptionError, match="16 is more than the 14 positions that the model has left"):
        captioner.caption(photos[:1], options, prompt="a dog")


def test_no_photos_no_captions(captioner: Captioner) -> None:
    assert captioner.caption([]) == []


def test_captions_may_be_as_long_as_the_model_has_positions(
    captioner: Captioner, photos: list[torch.Tensor]
) -> None:
    longest = captioner.model.config.decoder.n_positions
    options = GenerationOptions(num_beams=2, max_new_tokens=longest, min_new_tokens=longest)
    ((caption,),) = captioner.caption(photos[:1], options)
    assert len(caption.tokens) == longest
    with pytest.raises(OptionError, match="max_new_tokens") as caught:
        captioner.caption(photos[:1], GenerationOptions(max_new_tokens=longest + 1))
    assert caught.value.field == "max_new_tokens"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_describes_photos_too(tiny_folder: Path, dtype: torch.dtype) -> None:
    captioner = Captioner.from_folder(tiny_folder, dtype=dtype)
    found = captioner.caption([captioner.preprocess(photo(seed)) for seed in range(3)])
    scores = [caption.score for captions in found for caption in captions]
    exact = Captioner.from_folder(tiny_folder, dtype=torch.float32)
    expected = exact.caption([exact.preprocess(photo(seed)) for seed in range(3)])
    assert scores == pytest.approx([c.score for captions in expected for c in captions], rel=0.1)


def test_the_default_dtype_is_the_best_one(tiny_folder: Path) -> None:
    captioner = Captioner.from_folder(tiny_folder)
    assert {weight.dtype for weight in captioner.model.parameters()} == {best_dtype()}


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"bf16": True}, torch.bfloat16),
        ({"avx512_f": True, "avx512_bf16": False}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_bfloat16_only_where_the_processor_has_it(
    capabilities: dict[str, bool], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert best_dtype("cpu") == expected


def test_a_bad_photo_is_refused_before_the_model_sees_it(captioner: Captioner) -> None:
    with pytest.raises(NotAnImage):
        captioner.preprocess(b"no photo")


def test_the_bound_on_pixels_is_the_captioners(tiny_folder: Path) -> None:
    captioner = Captioner.from_folder(tiny_folder, max_pixels=99)
    stream = io.BytesIO()
    Image.new("RGB", (10, 10)).save(stream, "PNG")
    with pytest.raises(ImageTooLarge, match="10 × 10"):
        captioner.preprocess(stream.getvalue())


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere is not a folder"):
        Captioner.from_folder(tmp_path / "nowhere")
