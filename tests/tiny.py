"""A whole checkpoint that is small and random, and photos that it describes differently."""

import io
from pathlib import Path

import numpy as np
import tokenizers
import torch
from PIL import Image

from model.checkpoint.folder import Checkpoint, save_checkpoint
from model.image import ImageConfig
from model.network.caption_model import CaptionModel
from model.network.config import GPT2Config, ModelConfig, VisionConfig
from model.search.options import GenerationOptions
from model.tokenizer import Tokenizer

WORDS = ["a dog runs through the snow", "two children play on a beach", "a man in a red shirt jumps"]
OPTIONS = GenerationOptions(
    num_beams=3, num_captions=2, max_new_tokens=8, min_new_tokens=4, no_repeat_ngram_size=1
)


def write_tiny_checkpoint(folder: Path, seed: int = 0) -> Path:
    """A ViT of 32 × 32 pixels and a GPT-2 of 16 positions over about 300 byte-level tokens."""
    tokenizer = tokenizers.ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        WORDS * 10, vocab_size=320, special_tokens=["<|endoftext|>"], show_progress=False
    )
    backend = tokenizers.Tokenizer.from_str(tokenizer.to_str())
    config = ModelConfig(
        encoder=VisionConfig(32, 2, 4, 64, image_size=32, patch_size=8),
        decoder=GPT2Config(
            vocab_size=backend.get_vocab_size(), n_positions=16, n_embd=32, n_layer=2, n_head=4
        ),
        decoder_start_token_id=0,
        eos_token_ids=(0,),
        pad_token_id=0,
    )
    torch.manual_seed(seed)
    model = CaptionModel(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:  # wide enough that what the model says depends on what it sees
            torch.nn.init.normal_(parameter, std=0.3)
    checkpoint = Checkpoint(model, Tokenizer(backend), ImageConfig(size=(32, 32)), OPTIONS)
    save_checkpoint(folder, checkpoint, dtype=torch.float32)
    return folder


def photo(seed: int, size: tuple[int, int] = (48, 40), encoding: str = "PNG") -> bytes:
    """An encoded picture of large random blocks; each seed gives another one."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST).save(stream, encoding)
    return stream.getvalue()
