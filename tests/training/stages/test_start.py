from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model.network.config import VisionConfig
from model.network.encoder import Encoder
from model.tokenizer import Tokenizer
from training.data.vocabulary import digest, learn_vocabulary
from training.errors import DataError
from training.stages.start import check_vocabulary, load_part


def make_encoder(size: int, width: int = 16) -> Encoder:
    encoder = Encoder(VisionConfig(width, 1, 2, 32, image_size=size, patch_size=8))
    torch.nn.init.normal_(encoder.embedding.positions)
    return encoder


def test_an_encoder_of_smaller_photos_fits(tmp_path: Path) -> None:
    small, large = make_encoder(24), make_encoder(48)
    save_file(small.state_dict(), tmp_path / "encoder.safetensors")
    load_part(large, tmp_path / "encoder.safetensors", "encoder")
    pixels = torch.randn(1, 3, 48, 48)
    torch.testing.assert_close(large.eval()(pixels), small.eval()(pixels))  # it reads larger photos, too


def test_another_networks_weights_are_refused(tmp_path: Path) -> None:
    save_file(make_encoder(24, width=8).state_dict(), tmp_path / "encoder.safetensors")
    with pytest.raises(DataError, match=r"encoder .* is another network's: .* is \(.*\) instead of \("):
        load_part(make_encoder(24), tmp_path / "encoder.safetensors", "encoder")
    state = make_encoder(24).state_dict()
    state["embedding.positions"] = torch.zeros(1, 6, 16)  # 5 patches are no square
    save_file(state, tmp_path / "encoder.safetensors")
    with pytest.raises(DataError, match=r"positions is \(1, 6, 16\) instead of"):
        load_part(make_encoder(24), tmp_path / "encoder.safetensors", "encoder")
    with pytest.raises(DataError, match="cannot be read"):
        load_part(make_encoder(24), tmp_path / "none.safetensors", "encoder")


def test_a_decoder_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    own, other = (learn_vocabulary([text] * 3, 260) for text in ("a red dog", "zebras yawn"))
    assert own.get_vocab_size() == other.get_vocab_size()  # their weights have the same shapes
    path, weights = tmp_path / "decoder.safetensors", {"weight": torch.zeros(1)}
    save_file(weights, path, {"vocabulary": digest(own)})
    check_vocabulary(path, Tokenizer(own))
    for metadata in ({"vocabulary": digest(other)}, None):
        save_file(weights, path, metadata)
        with pytest.raises(DataError, match=r"decoder .*decoder\.safetensors has another vocabulary"):
            check_vocabulary(path, Tokenizer(own))
