"""On a CUDA device the engine says what it says on the processor."""

from pathlib import Path

import pytest
import torch

from model.captioner import Captioner
from model.explain.explainer import Explainer
from model.explain.explanation import MEANINGS, Method
from model.network.precision import best_dtype
from model.search.options import GenerationOptions
from tests.model.hugging_face import engine_model, random_model, random_pixels, save
from tests.model.test_beam_parity import expected, search
from tests.tiny import photo

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")

DEVICE = "cuda"
SEARCHES = [
    GenerationOptions(max_new_tokens=12),
    GenerationOptions(num_beams=4, num_captions=3, max_new_tokens=12),
    GenerationOptions(do_sample=True, num_captions=3, max_new_tokens=12, seed=4),
]


def loaded(folder: Path, device: str) -> Captioner:
    """In float64, where neither device's rounding decides between two tokens."""
    return Captioner.from_folder(folder, dtype=torch.float64, device=device)


def test_a_checkpoint_is_loaded_onto_the_device(tiny_folder: Path) -> None:
    model = Captioner.from_folder(tiny_folder, device=DEVICE).model
    assert {parameter.device.type for parameter in model.parameters()} == {DEVICE}
    assert {parameter.dtype for parameter in model.parameters()} == {best_dtype(DEVICE)}


@pytest.mark.parametrize("options", SEARCHES)
def test_captions_are_those_of_the_processor(tiny_folder: Path, options: GenerationOptions) -> None:
    here, there = loaded(tiny_folder, "cpu"), loaded(tiny_folder, DEVICE)
    photos = [here.preprocess(photo(seed)) for seed in range(8)]
    for one, other in zip(here.caption(photos, options), there.caption(photos, options), strict=True):
        assert [caption.text for caption in one] == [caption.text for caption in other]
        assert [caption.score for caption in one] == pytest.approx([c.score for c in other], rel=1e-4)


@pytest.mark.parametrize("options", SEARCHES[:2])
def test_a_batch_says_what_its_photos_alone_say(tiny_folder: Path, options: GenerationOptions) -> None:
    captioner = loaded(tiny_folder, DEVICE)
    photos = [captioner.preprocess(photo(seed)) for seed in range(8)]
    together = captioner.caption(photos, options)
    alone = [captioner.caption([pixels], options)[0] for pixels in photos]
    assert [[c.text for c in captions] for captions in together] == [[c.text for c in one] for one in alone]


@torch.inference_mode()
@pytest.mark.parametrize("seed", range(8))
def test_beams_are_those_of_transformers(seed: int, tmp_path: Path) -> None:
    theirs = random_model(seed)
    ours = engine_model(save(theirs, tmp_path), torch.float64).to(DEVICE)
    theirs.double().to(DEVICE)
    pixels = random_pixels(theirs, 3, seed).double().to(DEVICE)
    options = GenerationOptions(num_beams=4, num_captions=2, max_new_tokens=9, no_repeat_ngram_size=2)
    found = search(ours, pixels, options)
    for index, (tokens, _, score) in enumerate(expected(theirs, pixels, options)):
        place = divmod(index, options.num_captions)
        assert found.tokens[place][: len(tokens)].tolist() == tokens
        assert found.scores[place].item() == pytest.approx(score, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("method", MEANINGS)
def test_heatmaps_are_those_of_the_processor(tiny_folder: Path, method: Method) -> None:
    pictures = []
    for device in ("cpu", DEVICE):
        captioner = Captioner.from_folder(tiny_folder, dtype=torch.float32, device=device)
        explainer, pixels = Explainer(captioner), captioner.preprocess(photo(5))
        found = explainer.explain(pixels, explainer.given(pixels, "a dog runs"), method)
        pictures.append(torch.stack([heatmap.values for heatmap in found.heatmaps]))
    assert pictures[1].device.type == "cpu"  # ready to be drawn
    torch.testing.assert_close(*pictures, rtol=1e-2, atol=1e-3 * float(pictures[0].abs().max()))
