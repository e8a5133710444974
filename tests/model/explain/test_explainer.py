"""Explanations of real checkpoints: which words, by which rules, and what a given caption scores."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from model.captioner import Caption, Captioner, Token
from model.errors import ConfigError, OptionError
from model.explain.bounds import ExplainBounds
from model.explain.explainer import Explainer
from model.explain.explanation import MEANINGS, Method
from tests.tiny import photo

METHODS = list(MEANINGS)


def found_by_search(captioner: Captioner, pixels: torch.Tensor, prompt: str = "") -> Caption:
    options = captioner.options.replace(num_captions=1, num_beams=3, no_repeat_ngram_size=0)
    ((caption,),) = captioner.caption([pixels], options, prompt)
    return caption


def spelled(captioner: Captioner, ids: Sequence[int]) -> Caption:
    """Return a caption of these tokens."""
    pieces = captioner.tokenizer.pieces(ids)
    tokens = tuple(Token(piece, -1.0, one) for piece, one in zip(pieces, ids, strict=True))
    return Caption("".join(pieces).strip(), -1.0, tokens)


@pytest.mark.parametrize("seed", range(4))
def test_a_given_caption_scores_what_the_search_gave_it(captioner: Captioner, seed: int) -> None:
    pixels = captioner.preprocess(photo(seed))
    tokens = captioner.tokenizer.encode("a dog runs")
    options = captioner.options.replace(num_beams=1, num_captions=1, max_new_tokens=1, min_new_tokens=0)
    given = Explainer(captioner).given(pixels, " a dog runs ")
    assert given.text == "a dog runs"
    # The search, forced word by word: each prefix as its prompt, the next token's own probability.
    assert len(given.tokens) == len(tokens) + 1
    network, config = captioner.model, captioner.model.config
    cache = network.decoder.new_cache(1, 16)
    cross = network.decoder.cross_keys_values(network.encode(pixels[None]))
    with torch.inference_mode():
        ids = [config.decoder_start_token_id, *tokens, config.eos_token_ids[0]]
        for (one, following), token in zip(pairwise(ids), given.tokens, strict=True):
            logprobs = network.decoder.step(torch.tensor([[one]]), cross, cache).log_softmax(dim=-1)
            assert token.logprob == pytest.approx(logprobs[0, following].item(), abs=1e-4)
    total = sum(token.logprob for token in given.tokens)
    assert given.score == pytest.approx(total / len(given.tokens) ** options.length_penalty)
    assert Explainer(captioner).given(pixels, "a dog runs", 0.0).score == pytest.approx(total)


@pytest.mark.parametrize("method", METHODS)
def test_every_word_of_a_found_caption_has_a_map(captioner: Captioner, method: Method) -> None:
    pixels = captioner.preprocess(photo(5))
    caption = found_by_search(captioner, pixels)
    found = Explainer(captioner).explain(pixels, caption, method)
    assert (found.caption, found.method, found.grid, found.patch) == (caption, method, (4, 4), (0.25, 0.25))
    assert [heatmap.word for heatmap in found.heatmaps] == list(found.words)
    assert found.words
    for heatmap in found.heatmaps:
        assert heatmap.values.shape == (4, 4)
        assert heatmap.values.dtype == torch.float32
        assert heatmap.values.isfinite().all()
        assert heatmap.values.std() > 0


@pytest.mark.parametrize("method", METHODS)
def test_words_of_a_prompt_are_explained_like_generated_ones(captioner: Captioner, method: Method) -> None:
    pixels = captioner.preprocess(photo(6))
    prompted = found_by_search(captioner, pixels, "a dog")
    explainer = Explainer(captioner)
    found = explainer.explain(pixels, prompted, method)
    generated = spelled(captioner, [*prompted.prompt, *(token.id for token in prompted.tokens)])
    given = explainer.explain(pixels, generated, method)
    assert found.words[0].tokens == range(0)
    for one, other in zip(found.heatmaps, given.heatmaps, strict=True):
        assert (one.word.text, one.word.start) == (other.word.text, other.word.start)
        torch.testing.assert_close(one.values, other.values, rtol=1e-4, atol=1e-4)


def test_the_tokens_of_a_caption_are_explained_and_not_others_of_the_same_text(captioner: Captioner) -> None:
    pixels = captioner.preprocess(photo(6))
    explainer = Explainer(captioner)
    merged = captioner.tokenizer.encode("a dog")
    letters = [one for character in "a dog" for one in captioner.tokenizer.encode(character)]
    assert len(letters) == 5 > len(merged)
    found, other, given = (
        explainer.explain(pixels, caption)
        for caption in (
            spelled(captioner, letters),
            spelled(captioner, merged),
            explainer.given(pixels, "a dog"),
        )
    )
    assert found.caption.text == other.caption.text == "a dog"
    torch.testing.assert_close(other.heatmaps[1].values, given.heatmaps[1].values, rtol=1e-4, atol=1e-4)
    assert (found.heatmaps[1].values - other.heatmaps[1].values).abs().max() > 0.1


def test_a_word_of_several_tokens_is_explained_by_their_sum(captioner: Captioner) -> None:
    pixels = captioner.preprocess(photo(7))
    explainer = Explainer(captioner)
    caption = explainer.given(pixels, "xyz")
    assert len(caption.tokens) == 4  # no merges: x, y, z, the end
    (word,) = explainer.explain(pixels, caption).words
    assert word.logprob == pytest.approx(sum(token.logprob for token in caption.tokens[:3]))
    # Occlusion's maps add up as the log-probabilities do: of "x y z", the same three tokens apart.
    (whole,) = explainer.explain(pixels, caption).heatmaps
    grey = explainer.given(torch.zeros_like(pixels), "xyz")
    grey_word = explainer.explain(torch.zeros_like(pixels), grey).words[0]
    assert whole.values.abs().max() <= 3 * (abs(word.logprob) + abs(grey_word.logprob))


def test_the_callers_inference_mode_does_no_harm(captioner: Captioner) -> None:
    with torch.inference_mode():
        pixels = captioner.preprocess(photo(8)).clone()
        explainer = Explainer(captioner)
        caption = explainer.given(pixels, "a dog")
        inside = [explainer.explain(pixels, caption, method) for method in METHODS]
    outside = [explainer.explain(pixels, caption, method) for method in METHODS]
    for one, other in zip(inside, outside, strict=True):
        for ours, theirs in zip(one.heatmaps, other.heatmaps, strict=True):
            torch.testing.assert_close(ours.values, theirs.values, rtol=1e-4, atol=1e-4)


def test_the_first_words_are_explained_where_a_bound_is_low(captioner: Captioner) -> None:
    pixels = captioner.preprocess(photo(9))
    caption = Explainer(captioner).given(pixels, "a dog runs on")
    few = Explainer(captioner, ExplainBounds(max_words=2)).explain(pixels, caption)
    assert [heatmap.word.text for heatmap in few.heatmaps] == ["a", "dog"]
    assert few.to_dict((10, 10))["words_left_out"] == 2
    all_of_them = Explainer(captioner).explain(pixels, caption)
    torch.testing.assert_close(few.heatmaps[1].values, all_of_them.heatmaps[1].values, rtol=1e-4, atol=1e-4)
    cheap = Explainer(captioner, ExplainBounds(max_passes=65))
    assert len(cheap.explain(pixels, caption, "integrated_gradients").heatmaps) == 3
    assert len(cheap.explain(pixels, caption, "occlusion").heatmaps) == 4


@pytest.mark.parametrize("method", METHODS)
def test_bounds_hold_for_what_the_encoder_sees(
    captioner: Captioner, method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    hook = captioner.model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    pixels = captioner.preprocess(photo(9))
    caption = Explainer(captioner).given(pixels, "a dog runs on a beach")
    seen.clear()
    bounds = ExplainBounds(max_passes=45, batch=3)
    Explainer(captioner, bounds).explain(pixels, caption, method)
    hook.remove()
    assert max(seen) <= 3
    assert sum(seen) <= 45


def test_a_caption_without_words_has_no_heatmap(captioner: Captioner) -> None:
    pixels = captioner.preprocess(photo(0))
    for text in ("", " .,"):
        caption = spelled(captioner, captioner.tokenizer.encode(text))
        found = Explainer(captioner).explain(pixels, caption)
        assert not found.words
        assert not found.heatmaps
        assert found.to_dict((10, 10))["heatmaps"] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "caption: holds no word that the model knows"),
        (" \n", "caption: holds no word that the model knows"),
        ("... !", "caption: holds no word that the model knows"),
        ("x" * 16, r"caption: is 16 tokens long; the model reads at most 15"),
        ("x" * 1001, r"caption: has 1001 characters; at most 1000 are allowed"),
    ],
)
def test_captions_that_cannot_be_explained(captioner: Captioner, text: str, said: str) -> None:
    pixels = captioner.preprocess(photo(0))
    with pytest.raises(OptionError, match=said) as caught:
        Explainer(captioner).given(pixels, text)
    assert caught.value.field == "caption"


def test_the_longest_caption_that_the_model_reads(captioner: Captioner) -> None:
    pixels = captioner.preprocess(photo(0))
    explainer = Explainer(captioner)
    caption = explainer.given(pixels, "x" * 15)
    assert len(explainer.explain(pixels, caption).heatmaps) == 1


def test_an_unknown_method_is_named(captioner: Captioner) -> None:
    pixels = captioner.preprocess(photo(0))
    explainer = Explainer(captioner)
    caption = explainer.given(pixels, "a dog")
    with pytest.raises(OptionError, match="method: 'magic' is not one of occlusion, attention, inte"):
        explainer.explain(pixels, caption, "magic")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_words", 0), ("max_passes", 19), ("batch", 0), ("batch", 2.0), ("max_words", True)],
)
def test_bounds_are_checked(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{name} is {value!r}: an integer of at least"):
        ExplainBounds(**{name: value})  # type: ignore[arg-type]


def test_values_lie_on_the_photo_as_the_network_saw_it(tiny_folder: Path) -> None:
    captioner = Captioner.from_folder(tiny_folder, dtype=torch.float32)
    # 40 × 52 pixels and patches of 8: five rows, six columns and 4 pixels that no patch has
    pixels = torch.randn(3, 40, 52, generator=torch.manual_seed(0))
    explainer = Explainer(captioner)
    caption = explainer.given(pixels, "a dog")
    for method in METHODS:
        found = explainer.explain(pixels, caption, method)
        assert found.grid == (5, 6)
        facts = found.to_dict((104, 120))
        assert facts["grid"] == {"rows": 5, "columns": 6, "patch_width": 16.0, "patch_height": 24.0}
        assert facts["photo"] == {"width": 104, "height": 120}
        assert facts["method"] == method
        assert [one["word"] for one in facts["heatmaps"]] == ["a", "dog"]
        for one, heatmap in zip(facts["heatmaps"], found.heatmaps, strict=True):
            assert caption.text[one["start"] : one["end"]] == one["word"]
            torch.testing.assert_close(torch.tensor(one["values"]), heatmap.values, rtol=0, atol=1e-6)
