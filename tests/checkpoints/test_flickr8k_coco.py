"""The weights that ship: they load anywhere, keep within their size, and describe the sample photo."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image
from safetensors import safe_open
from transformers import AutoModelForImageTextToText

from model.captioner import Captioner

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "checkpoints" / "flickr8k-coco"
SAMPLE = ROOT / "examples" / "dog.jpg"


@pytest.fixture(scope="module")
def captioner() -> Captioner:
    return Captioner.from_folder(FOLDER, dtype=torch.float32)


def crops(count: int) -> list[bytes]:
    """Different parts of the sample photo, encoded without loss."""
    photo = Image.open(SAMPLE)
    found = []
    for index in range(count):
        left, top = 10 * (index % 8), 20 * (index // 8)
        stream = io.BytesIO()
        photo.crop((left, top, left + 200 + 10 * index, top + 200 + 5 * index)).save(stream, "PNG")
        found.append(stream.getvalue())
    return found


def test_they_are_halves_of_at_most_75_mb() -> None:
    path = FOLDER / "model.safetensors"
    assert path.stat().st_size <= 75_000_000
    with safe_open(path, framework="pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16}  # noqa: SIM118


@torch.inference_mode()
def test_transformers_finds_the_same_tokens(captioner: Captioner) -> None:
    transformers.logging.set_verbosity_error()
    theirs: Any = AutoModelForImageTextToText.from_pretrained(
        FOLDER, dtype=torch.float32, trust_remote_code=True
    ).eval()
    pixels = [captioner.preprocess(photo) for photo in [SAMPLE.read_bytes(), *crops(11)]]
    found = theirs.generate(
        pixel_values=torch.stack(pixels), return_dict_in_generate=True, output_scores=True
    )
    expected = [captioner.tokenizer.decode(ids).strip() for ids in found.sequences.tolist()]
    ours = [best for best, *_ in captioner.caption(pixels)]
    assert [caption.text for caption in ours] == expected
    assert [caption.score for caption in ours] == pytest.approx(found.sequences_scores.tolist(), abs=1e-4)
    assert len(set(expected)) > 1  # one caption for everything would prove little


def test_32_photos_at_once_get_what_each_gets_alone(captioner: Captioner) -> None:
    pixels = [captioner.preprocess(photo) for photo in crops(32)]
    alone = [captioner.caption([photo])[0][0].text for photo in pixels]
    assert [best.text for best, *_ in captioner.caption(pixels)] == alone


@pytest.mark.skipif(
    not torch.cpu.get_capabilities().get("amx_bf16"), reason="other kernels add up in an order of their own"
)
def test_in_bfloat16_they_get_the_very_same_numbers() -> None:
    captioner = Captioner.from_folder(FOLDER, dtype=torch.bfloat16)
    pixels = [captioner.preprocess(photo) for photo in crops(32)]
    alone = [captioner.caption([photo])[0] for photo in pixels]
    assert captioner.caption(pixels) == alone
    assert captioner.caption(pixels[:8]) == alone[:8]


def test_the_sample_shows_a_dog(captioner: Captioner) -> None:
    ((best, *_),) = captioner.caption([captioner.preprocess(SAMPLE.read_bytes())])
    assert "dog" in best.text.split()


def test_the_code_beside_them_is_the_engines() -> None:
    name = "modeling_hybrid_vit.py"
    assert (FOLDER / name).read_bytes() == (ROOT / "model" / "checkpoint" / name).read_bytes()


def test_their_card_gives_licence_and_scores() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for word in ("non-commercial", "Flickr8k", "COCO", "ImageNet", "CIDEr", "BLEU-4", "METEOR", "ROUGE-L"):
        assert word in card
