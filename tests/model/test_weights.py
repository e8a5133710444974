"""Every published file form holds the same weights, and none can run code."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.checkpoint.folder import load_checkpoint
from model.checkpoint.weights import open_weights
from model.errors import CheckpointError
from tests.model.hugging_face import engine_model, random_model, random_pixels, save


def as_pickle(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["decoder.lm_head.weight"] = weights["decoder.transformer.wte.weight"]  # as old files have it
    weights["decoder.transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4)
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


@torch.inference_mode()
@pytest.mark.parametrize("form", ["sharded", "pickle", "sharded pickle"])
def test_every_form_gives_the_same_numbers(form: str, tmp_path: Path) -> None:
    theirs = random_model(1)
    expected = engine_model(save(theirs, tmp_path / "one"))
    folder = tmp_path / "other"
    if form == "pickle":
        as_pickle(save(theirs, folder))
    else:
        theirs.save_pretrained(folder, max_shard_size="20KB")
    if form == "sharded pickle":
        index = folder / "model.safetensors.index.json"
        text = index.read_text().replace(".safetensors", ".bin").replace("model-", "pytorch_model-")
        (folder / "pytorch_model.bin.index.json").write_text(text)
        index.unlink()
        for shard in folder.glob("model-*.safetensors"):
            name = shard.name.replace("model-", "pytorch_model-").replace(".safetensors", ".bin")
            torch.save(load_file(shard), folder / name)
            shard.unlink()
    assert not (folder / "model.safetensors").exists()
    ours = engine_model(folder)
    pixels, tokens = random_pixels(theirs, 2), torch.randint(23, (2, 5))
    assert torch.equal(ours(pixels, tokens), expected(pixels, tokens))


class Bomb:
    """Touches a file where somebody unpickles it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.target,)


def test_a_pickle_cannot_run_code(tmp_path: Path) -> None:
    folder = save(random_model(1), tmp_path / "checkpoint")
    (folder / "model.safetensors").unlink()
    for protocol in ("torch", "plain"):
        if protocol == "torch":
            torch.save({"weight": Bomb(tmp_path / "fired")}, folder / "pytorch_model.bin")
        else:
            (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "fired")))
        with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is not a file of tensors alone"):
            open_weights(folder)
        assert not (tmp_path / "fired").exists()


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04junk"])
def test_a_broken_pickle_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin"):
        open_weights(tmp_path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    random_model(1).save_pretrained(tmp_path, max_shard_size="20KB")
    shard = sorted(tmp_path.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(CheckpointError, match=shard.name):
        open_weights(tmp_path)


@pytest.mark.parametrize("name", ["../outside.safetensors", "/outside.safetensors", "", ".", 3, None, ["x"]])
def test_a_shard_is_a_file_of_the_folder(name: object, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    save_file({"weight": torch.ones(2)}, tmp_path / "outside.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"weight": name}}))
    with pytest.raises(CheckpointError, match="names no file of its folder"):
        open_weights(folder)


def test_a_pickle_in_the_format_of_old_is_read(tmp_path: Path) -> None:
    weights = {"weight": torch.arange(6.0).view(2, 3)}
    torch.save(weights, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert torch.equal(open_weights(tmp_path)["weight"].read(), weights["weight"])


def test_no_weights_at_all(tiny_folder: Path, tmp_path: Path) -> None:
    for file in tiny_folder.iterdir():
        if file.suffix == ".json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(CheckpointError, match="holds no weights"):
        load_checkpoint(tmp_path)
