"""Integrated gradients: a known answer, their completeness axiom, and any number format."""

import copy
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import torch
from torch.nn.functional import logsigmoid

from model.captioner import Captioner
from model.checkpoint.folder import load_checkpoint
from model.errors import ExplanationTimeout
from model.explain.bounds import ExplainBounds
from model.explain.explainer import Explainer
from model.explain.integrated_gradients import integrated_gradients
from model.network.caption_model import CaptionModel
from tests.model.explain.spot import PATCH, SpotModel, brightness, spot_target
from tests.tiny import photo, write_tiny_checkpoint

BOUNDS = ExplainBounds(batch=6)


def test_all_of_a_words_heat_is_on_its_patch() -> None:
    model = SpotModel([(1, 4), (0, 0)])
    pixels = torch.rand(3, 3 * PATCH, 5 * PATCH, generator=torch.manual_seed(0)) / 10
    found = integrated_gradients(spot_target(model), pixels, BOUNDS)
    expected = torch.zeros(2, 3, 5)
    for word, (row, column) in enumerate(model.patches):
        lit = logsigmoid(brightness(pixels[None], (row, column))).item()
        expected[word, row, column] = lit - logsigmoid(torch.tensor(0.0)).item()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_map_adds_up_to_what_the_photo_brings(captioner: Captioner) -> None:
    explainer = Explainer(captioner)
    pixels = captioner.preprocess(photo(3)) / 20  # near grey, where twenty steps are enough
    caption = explainer.given(pixels, "a dog runs")
    grey = explainer.given(torch.zeros_like(pixels), "a dog runs")
    found = explainer.explain(pixels, caption, "integrated_gradients")
    without = explainer.explain(torch.zeros_like(pixels), grey).words
    assert len(found.heatmaps) == 3
    for heatmap, word in zip(found.heatmaps, without, strict=True):
        brought = heatmap.word.logprob - word.logprob
        assert abs(float(heatmap.values.sum()) - brought) < 0.02 + 0.05 * abs(brought)


def test_gradients_are_of_float32_whatever_the_models_format(tiny_folder: Path) -> None:
    half = Captioner.from_folder(tiny_folder, dtype=torch.bfloat16)
    whole = Captioner(load_checkpoint(tiny_folder))
    whole.model.bfloat16().float()  # rounded weights, whole numbers
    pixels = half.preprocess(photo(1))
    maps = []
    for captioner in (half, whole):
        explainer = Explainer(captioner)
        caption = explainer.given(pixels, "a dog runs")
        found = explainer.explain(pixels, caption, "integrated_gradients")
        maps.append(torch.stack([heatmap.values for heatmap in found.heatmaps]))
    torch.testing.assert_close(*maps)
    assert half.model.encoder.norm.weight.dtype == torch.bfloat16  # its own weights stay as they are


def test_explanations_share_one_float32_copy(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are asked for at once, and whatever mode the threads that ask run in."""
    half = Captioner.from_folder(tiny_folder, dtype=torch.bfloat16)
    whole = Captioner(load_checkpoint(tiny_folder))
    whole.model.bfloat16().float()  # rounded weights, whole numbers
    pixels = [half.preprocess(photo(seed)) for seed in range(4)]
    copied: list[object] = []
    deepcopy = copy.deepcopy

    def counted(what: object, *rest: dict[int, object]) -> object:
        if isinstance(what, CaptionModel):
            copied.append(what)
        return deepcopy(what, *rest)

    monkeypatch.setattr(copy, "deepcopy", counted)
    together = Barrier(len(pixels))

    def maps(captioner: Captioner, photo: torch.Tensor) -> torch.Tensor:
        explainer = Explainer(captioner)
        with torch.inference_mode():
            caption = explainer.given(photo, "a dog runs")
            if captioner is half:
                together.wait(10)
            found = explainer.explain(photo, caption, "integrated_gradients")
        return torch.stack([heatmap.values for heatmap in found.heatmaps])

    with ThreadPoolExecutor(len(pixels)) as threads:
        of_half = list(threads.map(lambda one: maps(half, one), pixels))
    assert copied == [half.model]
    torch.testing.assert_close(of_half, [maps(whole, one) for one in pixels])
    assert copied == [half.model]  # a float32 model is its own copy


def test_time_is_bounded(tmp_path: Path) -> None:
    captioner = Captioner.from_folder(write_tiny_checkpoint(tmp_path / "tiny"), dtype=torch.float32)
    pixels = captioner.preprocess(photo(1))
    explainer = Explainer(captioner, ExplainBounds(max_seconds=1e-6))
    caption = explainer.given(pixels, "two children play on a beach")
    found = explainer.explain(pixels, caption, "integrated_gradients")
    assert [heatmap.word.text for heatmap in found.heatmaps] == ["two"]
    assert found.to_dict((40, 48))["words_left_out"] == 5
    with pytest.raises(ExplanationTimeout, match="occlusion takes longer than"):
        explainer.explain(pixels, caption, "occlusion")
    assert len(explainer.explain(pixels, caption, "attention").heatmaps) == 6
