from pathlib import Path
from typing import cast

import pytest
import torch

from model.captioner import Captioner
from model.network.gpt2 import GPT2Head
from tests.tiny import write_tiny_checkpoint


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random checkpoint; tests read it and leave it as it is."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(scope="session")
def captioner(tiny_folder: Path) -> Captioner:
    """That checkpoint in float32, leaning towards the end token, so that captions differ in length."""
    captioner = Captioner.from_folder(tiny_folder, dtype=torch.float32)
    decoder = captioner.model.decoder
    (end,) = captioner.model.config.eos_token_ids
    with torch.no_grad():
        cast(GPT2Head, decoder.head).norm.bias.add_(2.0 * decoder.embedding.tokens.weight[end])
    return captioner
