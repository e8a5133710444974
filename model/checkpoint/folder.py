"""Checkpoint folders in Hugging Face layout: read and written.

config.json               dimensions and special token ids
model.safetensors …       the weights, see `weights`
tokenizer.json …          text ↔ ids, see `tokenizer`
preprocessor_config.json  photo → tensor
generation_config.json    default search options; where it is absent, config.json's, its decoder's last
README.md                 the model card: written, not read
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from model.checkpoint import blip, vit_gpt2
from model.checkpoint.family import Family, Source
from model.checkpoint.weights import Weight, open_weights
from model.errors import CheckpointError, ConfigError, OptionError, WeightsError
from model.image import ImageConfig
from model.network.caption_model import CaptionModel
from model.network.config import ModelConfig, read_json
from model.search.options import GenerationOptions
from model.tokenizer import Tokenizer

FAMILIES: dict[str, Family] = {vit_gpt2.MODEL_TYPE: vit_gpt2.VIT_GPT2, blip.MODEL_TYPE: blip.BLIP}
"""`model_type` of config.json → how to load it."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything that a checkpoint folder holds."""

    model: CaptionModel
    tokenizer: Tokenizer
    image: ImageConfig
    options: GenerationOptions
    card: str | None = None
    """What README.md gets where it is written; it is not read, as other weights need another card."""


def load_checkpoint(
    folder: Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Checkpoint:
    """Read a checkpoint folder; the model comes in evaluation mode.

    Raises CheckpointError naming the file and field, or the keys, that do not fit.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder")
    raw = read_json(folder / "config.json")
    family = family_of(raw)
    settings = folder / "generation_config.json"
    generation = read_json(settings) if settings.is_file() else {}
    config = family.read_config(raw, generation)
    image = ImageConfig.from_dict(read_json(folder / "preprocessor_config.json"))
    tokenizer = Tokenizer.from_folder(folder)
    if tokenizer.vocab_size > config.decoder.vocab_size:
        raise ConfigError(
            f"tokenizer.json has {tokenizer.vocab_size} ids, decoder.vocab_size is only "
            f"{config.decoder.vocab_size}"
        )
    try:
        options = GenerationOptions.from_generation_config(generation or family.generation_settings(raw))
    except OptionError as error:
        raise ConfigError(f"generation_config.json: {error}") from None
    model = load_weights(family, config, folder, dtype=dtype, device=device)
    return Checkpoint(model.eval(), tokenizer, image, options)


def family_of(raw: Mapping[str, Any]) -> Family:
    """Tell a config.json's family; raises ConfigError naming those that there are."""
    kind = raw.get("model_type")
    if kind not in FAMILIES:
        known = "; ".join(repr(name) for name in FAMILIES)
        raise ConfigError(f"config.json: model_type is {kind!r}; supported are {known}")
    return FAMILIES[kind]


def load_weights(
    family: Family, config: ModelConfig, folder: Path, *, dtype: torch.dtype, device: torch.device | str
) -> CaptionModel:
    """Build the network and fill it from the folder's weights, one at a time.

    Raises WeightsError listing all keys that are unknown, missing or misshapen.
    """
    stored = open_weights(folder)
    output, output_source = family.output
    table = family.key_table(config)
    (output_key,) = output_source.names
    embedding, embedding_key = family.embedding
    # Whether the two are tied is told by their values: configs err.
    tied = output_key not in stored or _equal(stored, output_key, embedding_key)
    if not tied:
        table[output] = output_source
    with torch.device("meta"):  # no memory until the real weights are assigned
        model = CaptionModel(config, tied=tied)
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    spare = {key for key in stored if family.ignored.fullmatch(key)} | {output_key}
    check_keys(stored, table, shapes, spare, f"the weights in {folder} do not fit its config.json")
    weights = {name: read_weight(stored, source, dtype).to(device) for name, source in table.items()}
    weights.setdefault(output, weights[embedding])
    model.load_state_dict(weights, assign=True)
    model.decoder.tie()
    return model


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, dtype: torch.dtype = torch.float16) -> None:
    """Write a ViT + GPT-2 checkpoint that transformers reads, too; weights are stored in `dtype`.

    The folder is written aside and renamed, so that it is never seen half-written; what else an
    older folder of that name held is gone. Raises WeightsError, and leaves all as it was, for weights
    that are packed or too large for `dtype`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        model = checkpoint.model
        state = model.state_dict()
        output, source = vit_gpt2.VIT_GPT2.output
        table = vit_gpt2.key_table(model.config) | {output: source}
        weights: dict[str, Tensor] = {}
        missing = sorted(table.keys() - state.keys())
        if missing:
            raise WeightsError(f"a network packed for captioning cannot be saved: {', '.join(missing)}")
        if model.decoder.tied:
            del table[output]
        for name, source in table.items():
            parts = state[name].detach().to(device="cpu", dtype=dtype).chunk(len(source.names))
            for key, part in zip(source.names, parts, strict=True):
                if not part.isfinite().all():
                    raise WeightsError(f"{key} holds values that {dtype} has no finite number for")
                weights[key] = _as_stored(part, source).contiguous()
        save_file(weights, aside / "model.safetensors", metadata={"format": "pt"})
        config = vit_gpt2.write_config(model.config) | {"dtype": str(dtype).removeprefix("torch.")}
        _write_json(aside / "config.json", config)
        _write_json(aside / "preprocessor_config.json", checkpoint.image.to_dict())
        ids = {name: config[name] for name in vit_gpt2.TOKEN_IDS}
        _write_json(aside / "generation_config.json", checkpoint.options.to_generation_config() | ids)
        if model.config.encoder.stem is not None:
            code = Path(__file__).with_name(vit_gpt2.MODELLING_FILE)
            shutil.copyfile(code, aside / vit_gpt2.MODELLING_FILE)
        checkpoint.tokenizer.backend.save(str(aside / "tokenizer.json"))
        if checkpoint.card is not None:
            (aside / "README.md").write_text(checkpoint.card, encoding="utf-8")
        # Made for their owner alone, they would be hidden from the server's user.
        aside.chmod(0o755)
        (aside / "model.safetensors").chmod(0o644)
        _replace(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _equal(stored: Mapping[str, Weight], one: str, other: str) -> bool:
    same_shape = other in stored and stored[one].shape == stored[other].shape
    return same_shape and torch.equal(stored[one].read(), stored[other].read())


def read_weight(stored: Mapping[str, Weight], source: Source, dtype: torch.dtype) -> Tensor:
    """Read a weight from where it is stored, in `dtype`."""
    # Converted first, so that what is made on the way has the size of the result.
    parts = [stored[name].read().to(dtype) for name in source.names]
    whole = parts[0] if len(parts) == 1 else torch.cat(parts)
    if source.unfolded:
        return whole.flatten(1)
    return whole.T.contiguous() if source.transposed else whole


def _as_stored(weight: Tensor, source: Source) -> Tensor:
    """Give a weight the shape that it has in the file."""
    if source.unfolded:
        return torch.unflatten(weight, 1, source.unfolded)
    return weight.T if source.transposed else weight


def check_keys(
    stored: Mapping[str, Weight],
    table: Mapping[str, Source],
    shapes: Mapping[str, torch.Size],
    spare: set[str],
    misfit: str,
) -> None:
    """Raise WeightsError unless what is stored is what `table` needs for weights of these shapes.

    It lists all keys that are missing, misshapen, or unknown and not `spare`, after `misfit`.
    """
    wanted: dict[str, tuple[int, ...]] = {}
    for name, source in table.items():
        rows, *rest = shapes[name]
        shape = (rows // len(source.names), *(source.unfolded or rest))
        wanted |= dict.fromkeys(source.names, shape[::-1] if source.transposed else shape)
    problems = {
        "missing": sorted(wanted.keys() - stored.keys()),
        "unknown": sorted(stored.keys() - wanted.keys() - spare),
        "misshapen": sorted(
            f"{key} is {stored[key].shape} instead of {shape}"
            for key, shape in wanted.items()
            if key in stored and stored[key].shape != shape
        ),
    }
    if any(problems.values()):
        lines = [f"{kind} ({len(keys)}): {', '.join(keys)}" for kind, keys in problems.items() if keys]
        raise WeightsError(f"{misfit}. " + "; ".join(lines))


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
