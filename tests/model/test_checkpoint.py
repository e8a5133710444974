"""Checkpoint folders: read whole or refused with everything that is wrong, written whole or not at all."""

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import VisionEncoderDecoderModel

import model.checkpoint.folder
from model.checkpoint.folder import load_checkpoint, save_checkpoint
from model.errors import CheckpointError, ConfigError, WeightsError
from model.network.config import read_json
from model.search.options import GenerationOptions
from tests.tiny import OPTIONS

WTE = "decoder.transformer.wte.weight"
HEAD = "decoder.lm_head.weight"


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint that a test may damage."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "checkpoint"))


def edit_weights(folder: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors")


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), encoding="utf-8")


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_saved_is_loaded(folder: Path, tmp_path: Path) -> None:
    loaded = load_checkpoint(folder)
    save_checkpoint(tmp_path / "again", loaded, dtype=torch.float32)
    assert content(tmp_path / "again") == content(folder)
    assert loaded.options == OPTIONS
    assert loaded.image.size == (32, 32)
    assert not loaded.model.training
    assert {weight.dtype for weight in loaded.model.parameters()} == {torch.float32}


def test_everything_that_is_wrong_with_the_weights_is_said_at_once(folder: Path) -> None:
    def damage(weights: dict[str, Tensor]) -> None:
        del weights["encoder.layernorm.bias"]
        del weights["decoder.transformer.h.1.crossattention.q_attn.weight"]
        del weights["encoder.encoder.layer.0.attention.attention.key.bias"]
        weights["encoder.encoder.layer.7.output.dense.bias"] = torch.zeros(32)
        weights["decoder.surplus"] = torch.zeros(1)
        weights["decoder.transformer.wpe.weight"] = torch.zeros(15, 32)
        weights["decoder.transformer.h.0.mlp.c_fc.weight"] = torch.zeros(128, 32)

    edit_weights(folder, damage)
    with pytest.raises(WeightsError) as caught:
        load_checkpoint(folder)
    message = str(caught.value)
    assert "\n" not in message
    missing, unknown, misshapen = message.split("; ")
    assert missing.endswith(
        "missing (3): decoder.transformer.h.1.crossattention.q_attn.weight, "
        "encoder.encoder.layer.0.attention.attention.key.bias, encoder.layernorm.bias"
    )
    assert unknown == "unknown (2): decoder.surplus, encoder.encoder.layer.7.output.dense.bias"
    assert misshapen == (
        "misshapen (2): decoder.transformer.h.0.mlp.c_fc.weight is (128, 32) instead of (32, 128), "
        "decoder.transformer.wpe.weight is (15, 32) instead of (16, 32)"
    )


def test_weights_for_another_configuration_are_refused(folder: Path) -> None:
    raw = read_json(folder / "config.json")
    edit_json(folder / "config.json", decoder=raw["decoder"] | {"n_layer": 3})
    with pytest.raises(WeightsError, match=r"missing \(20\): decoder\.transformer\.h\.2"):
        load_checkpoint(folder)
    edit_json(folder / "config.json", decoder=raw["decoder"] | {"n_layer": 1})
    with pytest.raises(WeightsError, match=r"unknown \(20\): decoder\.transformer\.h\.1"):
        load_checkpoint(folder)


def test_what_old_files_hold_besides_is_passed_over(folder: Path) -> None:
    def add(weights: dict[str, Tensor]) -> None:
        weights["encoder.pooler.dense.weight"] = torch.zeros(32, 32)
        weights["encoder.pooler.dense.bias"] = torch.zeros(32)
        weights["decoder.transformer.h.0.attn.bias"] = torch.ones(1, 1, 16, 16)
        weights["decoder.transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4)
        weights["decoder.transformer.h.1.crossattention.bias"] = torch.ones(1, 1, 16, 16)
        weights["decoder.transformer.h.1.crossattention.masked_bias"] = torch.tensor(-1e4)
        weights[HEAD] = weights[WTE].clone()

    before = load_checkpoint(folder).model.state_dict()
    edit_weights(folder, add)
    after = load_checkpoint(folder).model
    assert after.decoder.head.output.weight is after.decoder.embedding.tokens.weight
    assert before.keys() == after.state_dict().keys()
    assert all(torch.equal(before[name], weight) for name, weight in after.state_dict().items())


def test_an_output_layer_of_its_own_is_kept(folder: Path, tmp_path: Path) -> None:
    own = torch.randn(load_file(folder / "model.safetensors")[WTE].shape)
    edit_weights(folder, lambda weights: weights.update({HEAD: own}))
    loaded = load_checkpoint(folder)
    assert torch.equal(loaded.model.state_dict()["decoder.head.output.weight"], own)
    assert not torch.equal(loaded.model.decoder.embedding.tokens.weight, own)
    save_checkpoint(tmp_path / "again", loaded, dtype=torch.float32)
    assert torch.equal(load_file(tmp_path / "again" / "model.safetensors")[HEAD], own)


def test_an_output_layer_of_another_shape_is_misshapen(folder: Path) -> None:
    edit_weights(folder, lambda weights: weights.update({HEAD: torch.zeros(3, 32)}))
    with pytest.raises(WeightsError, match=r"misshapen \(1\): decoder\.lm_head\.weight is \(3, 32\)"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"]
)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=re.escape(name)):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "preprocessor_config.json",
        "generation_config.json",
    ],
)
@pytest.mark.parametrize("broken", [b"", b"{", b'{"a": 1}x', b"\xff\xfe\0\0\0\0\0\0\0\0"])
def test_a_broken_file_is_named(folder: Path, name: str, broken: bytes) -> None:
    (folder / name).write_bytes(broken)
    with pytest.raises(CheckpointError, match=name) as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value)


def test_weights_that_are_cut_off_are_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not a safetensors file"):
        load_checkpoint(folder)


def test_a_file_is_no_folder(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a folder"):
        load_checkpoint(folder / "config.json")


def test_a_bad_option_of_the_file_is_named(folder: Path) -> None:
    edit_json(folder / "generation_config.json", num_beams=0)
    with pytest.raises(ConfigError, match=r"generation_config\.json: num_beams"):
        load_checkpoint(folder)


def test_a_tokenizer_that_is_too_large_is_refused(folder: Path) -> None:
    raw = read_json(folder / "config.json")
    ids = load_checkpoint(folder).tokenizer.vocab_size
    edit_json(folder / "config.json", decoder=raw["decoder"] | {"vocab_size": ids - 1})
    with pytest.raises(ConfigError, match=rf"{ids} ids.*{ids - 1}"):
        load_checkpoint(folder)


def test_without_a_generation_file_the_options_are_in_the_configuration(folder: Path) -> None:
    """Also in the decoder's part of it, as published files have it and transformers reads it."""
    (folder / "generation_config.json").unlink()
    assert load_checkpoint(folder).options == GenerationOptions()
    raw = read_json(folder / "config.json")
    edit_json(folder / "config.json", num_beams=4, decoder=raw["decoder"] | {"max_length": 7, "num_beams": 2})
    theirs = VisionEncoderDecoderModel.from_pretrained(folder).generation_config
    assert (theirs.num_beams, theirs.max_length) == (4, 7)
    assert load_checkpoint(folder).options == GenerationOptions(num_beams=4, max_new_tokens=6)


def test_token_ids_of_the_generation_file_win(folder: Path) -> None:
    edit_json(folder / "generation_config.json", eos_token_id=[5, 6], pad_token_id=None, bos_token_id=7)
    config = load_checkpoint(folder).model.config
    assert (config.eos_token_ids, config.pad_token_id, config.decoder_start_token_id) == ((5, 6), 0, 0)


def test_the_new_folder_can_be_read_by_others(folder: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "deep" / "er", load_checkpoint(folder))
    assert (tmp_path / "deep" / "er").stat().st_mode & 0o777 == 0o755
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["er"]


def test_saving_over_a_checkpoint_replaces_it(folder: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(folder)
    target = tmp_path / "target"
    save_checkpoint(target, checkpoint)
    with torch.no_grad():
        checkpoint.model.decoder.embedding.tokens.weight.add_(1)
    save_checkpoint(target, checkpoint)
    written = load_checkpoint(target).model.decoder.embedding.tokens.weight
    torch.testing.assert_close(
        written, checkpoint.model.decoder.embedding.tokens.weight, rtol=1e-3, atol=1e-3
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "target"]


def fail(*_: object, **__: object) -> None:
    raise OSError("disk full")


@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize("step", ["save_file", "_write_json", "_replace"])
def test_a_failure_on_the_way_changes_nothing(
    folder: Path, existing: bool, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = load_checkpoint(folder)
    target = folder if existing else folder.parent / "new"
    before, names = content(folder), sorted(folder.parent.iterdir())
    monkeypatch.setattr(model.checkpoint.folder, step, fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(target, checkpoint)
    assert content(folder) == before
    assert sorted(folder.parent.iterdir()) == names


def test_a_failing_rename_brings_the_old_folder_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = load_checkpoint(folder)
    before, names = content(folder), sorted(folder.parent.iterdir())
    original = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if target == folder and (self / "model.safetensors").stat().st_size != len(
            before["model.safetensors"]
        ):
            raise OSError("disk full")  # the new folder; the old one may move
        return original(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(folder, checkpoint)
    assert content(folder) == before
    assert sorted(folder.parent.iterdir()) == names


def test_weights_go_to_the_dtype_that_is_asked_for(folder: Path) -> None:
    loaded = load_checkpoint(folder, dtype=torch.bfloat16).model
    expected = load_file(folder / "model.safetensors")[WTE].bfloat16()
    assert torch.equal(loaded.decoder.embedding.tokens.weight, expected)


def test_a_packed_network_is_not_written_in_part(folder: Path, tmp_path: Path) -> None:
    """Packed layers keep their weights where no table of keys finds them."""
    loaded = load_checkpoint(folder)
    loaded.model.encoder.blocks[0].mlp = torch.nn.Identity()
    with pytest.raises(WeightsError, match=r"cannot be saved.*encoder\.blocks\.0\.mlp\.up\.weight"):
        save_checkpoint(tmp_path / "saved", loaded)
    assert list(tmp_path.glob("*saved*")) == []


@pytest.mark.parametrize("value", [70_000.0, math.nan, math.inf])
def test_a_weight_that_cannot_be_stored_is_named(value: float, folder: Path, tmp_path: Path) -> None:
    loaded = load_checkpoint(folder)
    with torch.no_grad():
        loaded.model.decoder.embedding.positions.weight[3, 4] = value
    with pytest.raises(WeightsError, match=r"decoder\.transformer\.wpe\.weight.*float16"):
        save_checkpoint(tmp_path / "saved", loaded)
    assert list(tmp_path.glob("*saved*")) == []
