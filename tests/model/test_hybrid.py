"""Hybrid encoders: the numbers and captions of the file that transformers loads, which knows no engine."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText

from model.captioner import Captioner
from model.checkpoint.folder import Checkpoint, load_checkpoint, save_checkpoint
from model.errors import ConfigError, WeightsError
from model.explain.explainer import Explainer
from model.explain.explanation import MEANINGS, Method
from model.image import ImageConfig
from model.network.caption_model import CaptionModel
from model.network.config import ConvStemConfig, GPT2Config, ModelConfig, VisionConfig
from model.network.conv_stem import ConvStem, SamePadded
from model.search.options import GenerationOptions
from tests.model.hugging_face import TheirModel
from tests.model.tokens import byte_level_tokenizer
from tests.tiny import photo

SEEDS = range(8)


def random_hybrid(seed: int, *, side: int | None = None) -> Checkpoint:
    """A hybrid captioner whose dimensions are drawn; its weights are wide, so that its outputs vary."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    stages = tuple(
        (
            draw.choice([1, 2]),
            draw.choice([3, 5]),
            draw.choice([1, 2]),
            draw.choice([1, 3]),
            draw.choice([8, 12]),
        )
        for _ in range(draw.choice([1, 3]))
    )
    stem = ConvStemConfig(first_width=8, stages=stages, width=20)
    size = side or stem.stride * draw.choice([2, 3])
    encoder = VisionConfig(
        draw.choice([16, 24]), 2, 2, 40, image_size=size, patch_size=stem.stride, stem=stem
    )
    decoder = GPT2Config(vocab_size=300, n_positions=40, n_embd=24, n_layer=2, n_head=4)
    model = CaptionModel(ModelConfig(encoder, decoder, 0, (0,), 0)).eval()
    for name, parameter in model.named_parameters():
        if "stem" in name:
            torch.nn.init.normal_(parameter, std=1.5 / parameter[0].numel() ** 0.5)
        else:
            torch.nn.init.normal_(parameter, std=0.3)
    options = GenerationOptions(num_beams=3, max_new_tokens=12)
    return Checkpoint(model, byte_level_tokenizer(), ImageConfig(size=(size, size)), options)


def both(seed: int, folder: Path) -> tuple[CaptionModel, TheirModel]:
    """Write a drawn checkpoint, and read it here and in transformers, in float64."""
    save_checkpoint(folder, random_hybrid(seed), dtype=torch.float32)
    loaded: Any = AutoModelForImageTextToText.from_pretrained(
        folder, trust_remote_code=True, output_loading_info=True
    )
    assert not any(loaded[1].values()), loaded[1]
    return load_checkpoint(folder, dtype=torch.float64).model, loaded[0].eval().double()


@torch.inference_mode()
@pytest.mark.parametrize("seed", SEEDS)
def test_transformers_finds_the_same_numbers(seed: int, tmp_path: Path) -> None:
    ours, theirs = both(seed, tmp_path / "hybrid")
    side = ours.config.encoder.image_size
    pixels, tokens = torch.randn(3, 3, side, side, dtype=torch.float64), torch.randint(300, (3, 6))
    expected = theirs.encoder(pixel_values=pixels).last_hidden_state
    assert expected[0].sub(expected[1]).abs().max() > 0.1  # photos are told apart
    torch.testing.assert_close(ours.encoder(pixels), expected, rtol=1e-9, atol=1e-9)
    logits = theirs(pixel_values=pixels, decoder_input_ids=tokens).logits
    torch.testing.assert_close(ours(pixels, tokens), logits, rtol=1e-9, atol=1e-9)


@torch.inference_mode()
@pytest.mark.parametrize("seed", SEEDS)
def test_transformers_finds_the_same_captions(seed: int, tmp_path: Path) -> None:
    _, theirs = both(seed, tmp_path / "hybrid")
    captioner = Captioner(load_checkpoint(tmp_path / "hybrid"))
    photos = [captioner.preprocess(photo(index)) for index in range(4)]
    for beams, penalty in ((1, 1.0), (3, 1.0), (4, 0.0)):
        options = captioner.options.replace(num_beams=beams, length_penalty=penalty)
        found = theirs.float().generate(
            pixel_values=torch.stack(photos),
            num_beams=beams,
            length_penalty=penalty,
            max_new_tokens=12,
        )
        expected = [[token for token in row[1:].tolist() if token] for row in found]
        ours = [
            [token.id for token in best.tokens if token.id] for best, *_ in captioner.caption(photos, options)
        ]
        assert ours == expected


@pytest.mark.parametrize("side", [7, 8, 9, 16])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 1), (5, 2)])
def test_padding_is_tensorflows(side: int, kernel: int, stride: int) -> None:
    """By hand: ceil(side / stride) outputs; what is missing is padded, the odd one right and below."""
    layer = SamePadded(1, 1, kernel, stride, bounded=False)
    x = torch.randn(1, 1, side, side)
    outputs = -(-side // stride)
    missing = max((outputs - 1) * stride + kernel - side, 0)
    before = missing // 2
    padded = torch.zeros(1, 1, side + missing, side + missing)
    padded[:, :, before : before + side, before : before + side] = x
    expected = torch.tensor(
        [
            [
                (
                    padded[0, 0, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
                    * layer.weight[0, 0]
                )
                .sum()
                .item()
                + layer.bias.item()  # type: ignore[union-attr]
                for j in range(outputs)
            ]
            for i in range(outputs)
        ]
    )
    torch.testing.assert_close(layer(x)[0, 0], expected, rtol=1e-5, atol=1e-5)


def test_what_comes_before_a_block_and_what_comes_from_it_on_is_the_whole() -> None:
    stem = ConvStem(ConvStemConfig(first_width=8, stages=((2, 3, 2, 2, 8), (1, 5, 1, 3, 12)), width=16))
    pixels = torch.randn(2, 3, 32, 32)
    for start in (1, 2, 3):
        torch.testing.assert_close(stem(stem.before(pixels, start), start), stem(pixels))


def test_photos_get_alone_what_they_get_together(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "hybrid", random_hybrid(1), dtype=torch.float32)
    captioner = Captioner.from_folder(tmp_path / "hybrid", dtype=torch.float32)
    photos = [captioner.preprocess(photo(index)) for index in range(5)]
    together = captioner.caption(photos)
    for one, found in zip(photos, together, strict=True):
        (alone,) = captioner.caption([one])
        assert [caption.text for caption in alone] == [caption.text for caption in found]
        assert [caption.score for caption in alone] == pytest.approx([c.score for c in found], rel=1e-5)


@pytest.mark.parametrize("method", MEANINGS)
def test_a_packed_hybrid_is_explained_as_a_plain_one(tmp_path: Path, method: Method) -> None:
    save_checkpoint(tmp_path / "hybrid", random_hybrid(2), dtype=torch.float32)
    packed = Captioner.from_folder(tmp_path / "hybrid", dtype=torch.float32)
    plain = Captioner(load_checkpoint(tmp_path / "hybrid"))
    pixels = plain.preprocess(photo(1))
    caption = Explainer(plain).given(pixels, "a dog runs")
    grid = plain.model.config.encoder.grid
    found, expected = (Explainer(one).explain(pixels, caption, method) for one in (packed, plain))
    for ours, exact in zip(found.heatmaps, expected.heatmaps, strict=True):
        assert exact.values.shape == (grid, grid)
        spread = float(exact.values.abs().max())
        torch.testing.assert_close(ours.values, exact.values, rtol=0, atol=1e-3 * spread + 1e-6)


def changed(folder: Path, **fields: object) -> Path:
    save_checkpoint(folder, random_hybrid(0), dtype=torch.float32)
    raw = json.loads((folder / "config.json").read_text())
    raw["encoder"] |= fields
    (folder / "config.json").write_text(json.dumps(raw))
    return folder


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stem": None}, "encoder.stem is None: an object is needed"),
        ({"stem": {"stages": 7}}, "encoder.stem.stages is 7: a list of lists is needed"),
        ({"stem": {"stages": [[1, 3, 2, 6]]}}, "five positive integers a stage are needed"),
        ({"stem": {"stages": [[1, 3, 0, 6, 8]]}}, "five positive integers a stage are needed"),
        ({"stem": {"width": "wide"}}, "encoder.stem.width is 'wide': a positive integer is needed"),
        ({"patch_size": 1}, "encoder.patch_size is 1: the stride of encoder.stem"),
        ({"model_type": "swin"}, "encoder.model_type is 'swin': one of 'vit', 'dinov2', 'hybrid-vit'"),
    ],
)
def test_a_config_that_does_not_fit_names_the_field(
    tmp_path: Path, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_checkpoint(changed(tmp_path / "hybrid", **fields))


def test_weights_without_a_stem_are_told(tmp_path: Path) -> None:
    folder = changed(tmp_path / "hybrid", model_type="vit")
    with pytest.raises(WeightsError, match=r"unknown .*patch_embeddings\.stem"):
        load_checkpoint(folder)


def test_the_code_lies_beside_the_weights_of_hybrids_alone(tmp_path: Path) -> None:
    hybrid = random_hybrid(0)
    save_checkpoint(tmp_path / "hybrid", hybrid)
    assert (tmp_path / "hybrid" / "modeling_hybrid_vit.py").is_file()
    assert load_checkpoint(tmp_path / "hybrid").model.config == hybrid.model.config
