"""Checkpoint folders in Hugging Face VisionEncoderDecoder layout: read and written.

config.json               dimensions and special token ids
model.safetensors         the weights
tokenizer.json            text ↔ ids
preprocessor_config.json  photo → tensor
generation_config.json    default search options; where it is absent, config.json's, its decoder's last
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.config import ModelConfig, read_json
from model.errors import CheckpointError, ConfigError, OptionError, WeightsError
from model.image import ImageConfig
from model.key_table import IGNORED, Source, key_table
from model.network import CaptionModel
from model.options import BeamOptions
from model.tokenizer import Tokenizer

TOKEN_IDS = ("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything that a checkpoint folder holds."""

    model: CaptionModel
    tokenizer: Tokenizer
    image: ImageConfig
    options: BeamOptions


def load_checkpoint(
    folder: Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Checkpoint:
    """Read a checkpoint folder; the model comes in evaluation mode.

    Raises CheckpointError naming the file and field, or the keys, that do not fit.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder")
    raw = read_json(folder / "config.json")
    generation = None
    if (folder / "generation_config.json").is_file():
        generation = read_json(folder / "generation_config.json")
        # Generation settings win over the model's own, as in transformers.
        raw = raw | {name: generation[name] for name in TOKEN_IDS if generation.get(name) is not None}
    config = ModelConfig.from_dict(raw)
    if generation is None:
        generation = raw["decoder"] | {name: value for name, value in raw.items() if value is not None}
    image = ImageConfig.from_dict(read_json(folder / "preprocessor_config.json"))
    tokenizer = Tokenizer.from_folder(folder)
    if tokenizer.vocab_size > config.decoder.vocab_size:
        raise ConfigError(
            f"tokenizer.json has {tokenizer.vocab_size} ids, decoder.vocab_size is only "
            f"{config.decoder.vocab_size}"
        )
    try:
        options = BeamOptions.from_generation_config(generation)
    except OptionError as error:
        raise ConfigError(f"generation_config.json: {error}") from None
    model = load_weights(config, folder / "model.safetensors", dtype=dtype, device=device)
    return Checkpoint(model.eval(), tokenizer, image, options)


def load_weights(
    config: ModelConfig, path: Path, *, dtype: torch.dtype, device: torch.device | str
) -> CaptionModel:
    """Build the network and fill it from a safetensors file, one weight at a time.

    Raises WeightsError listing all keys that are unknown, missing or misshapen.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tied = _is_tied(file)
            with torch.device("meta"):  # no memory until the real weights are assigned
                model = CaptionModel(config, tied=tied)
            table = key_table(config, tied=tied)
            expected = {name: parameter.shape for name, parameter in model.named_parameters()}
            found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
            _check_keys(found, table, expected, tied=tied, path=path)
            weights = {
                name: _read(file, source).to(device=device, dtype=dtype) for name, source in table.items()
            }
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}") from None
    model.load_state_dict(weights, assign=True)
    return model


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, dtype: torch.dtype = torch.float16) -> None:
    """Write a checkpoint folder that transformers reads, too; weights are stored in `dtype`.

    The folder is written aside and renamed, so that it is never seen half-written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        model = checkpoint.model
        tied = model.decoder.output is None
        state = model.state_dict()
        weights: dict[str, Tensor] = {}
        for name, source in key_table(model.config, tied=tied).items():
            parts = state[name].detach().to(device="cpu", dtype=dtype).chunk(len(source.names))
            for key, part in zip(source.names, parts, strict=True):
                weights[key] = (part.T if source.transposed else part).contiguous()
        save_file(weights, aside / "model.safetensors", metadata={"format": "pt"})
        config = model.config.to_dict() | {"dtype": str(dtype).removeprefix("torch.")}
        _write_json(aside / "config.json", config)
        _write_json(aside / "preprocessor_config.json", checkpoint.image.to_dict())
        ids = {name: config[name] for name in TOKEN_IDS}
        _write_json(aside / "generation_config.json", checkpoint.options.to_generation_config() | ids)
        checkpoint.tokenizer.backend.save(str(aside / "tokenizer.json"))
        aside.chmod(0o755)  # mkdtemp's 0700 would hide it from the server's user
        _replace(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _is_tied(file: Any) -> bool:  # noqa: ANN401  # safe_open has no public type
    """Whether the output layer is the token embedding: by their values, since configs err."""
    keys = set(file.keys())
    if "decoder.lm_head.weight" not in keys or "decoder.transformer.wte.weight" not in keys:
        return True
    output: Tensor = file.get_tensor("decoder.lm_head.weight")
    return torch.equal(output, file.get_tensor("decoder.transformer.wte.weight"))


def _read(file: Any, source: Source) -> Tensor:  # noqa: ANN401
    parts = [file.get_tensor(name) for name in source.names]
    whole = parts[0] if len(parts) == 1 else torch.cat(parts)
    return whole.T.contiguous() if source.transposed else whole


def _check_keys(
    found: Mapping[str, tuple[int, ...]],
    table: Mapping[str, Source],
    expected: Mapping[str, torch.Size],
    *,
    tied: bool,
    path: Path,
) -> None:
    wanted: dict[str, tuple[int, ...]] = {}
    for name, source in table.items():
        rows, *rest = expected[name]
        shape = (rows // len(source.names), *rest)
        wanted |= dict.fromkeys(source.names, shape[::-1] if source.transposed else shape)
    spare = {"decoder.lm_head.weight"} if tied else set()
    problems = {
        "missing": sorted(wanted.keys() - found.keys()),
        "unknown": sorted(key for key in found.keys() - wanted.keys() - spare if not IGNORED.fullmatch(key)),
        "misshapen": sorted(
            f"{key} is {found[key]} instead of {shape}"
            for key, shape in wanted.items()
            if key in found and found[key] != shape
        ),
    }
    if any(problems.values()):
        lines = [f"{kind} ({len(keys)}): {', '.join(keys)}" for kind, keys in problems.items() if keys]
        raise WeightsError(f"{path} does not fit its config.json. " + "; ".join(lines))


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _replace(new: Path, target: Path) -> None:
    """Rename `new` to `target`; an old folder there is moved out of the way first, then deleted."""
    if target.exists():
        old = new.with_name(new.name + "-old")
        target.rename(old)
        try:
            new.rename(target)
        except OSError:
            old.rename(target)
            raise
        shutil.rmtree(old)
    else:
        new.rename(target)
