"""`config.json`: what it says is read, what is not supported is refused by name."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from model.checkpoint.folder import family_of
from model.checkpoint.vit_gpt2 import write_config
from model.errors import ConfigError
from model.network.config import GPT2Config, ModelConfig, VisionConfig, read_json

PUBLISHED = Path(__file__).parents[3] / "shared" / "checkpoints" / "vit-gpt2"


def read(raw: dict[str, Any]) -> ModelConfig:
    """The configuration in a config.json, with no generation_config.json beside it."""
    return family_of(raw).read_config(raw, {})


def minimal() -> dict[str, Any]:
    return {
        "model_type": "vision-encoder-decoder",
        "decoder_start_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 3,
        "encoder": {"model_type": "vit", "hidden_size": 32, "num_attention_heads": 4},
        "decoder": {"model_type": "gpt2", "add_cross_attention": True, "vocab_size": 10},
    }


def changed(path: str, value: object) -> dict[str, Any]:
    raw = copy.deepcopy(minimal())
    *parents, name = path.split(".")
    inner = raw
    for parent in parents:
        inner = inner[parent]
    inner[name] = value
    return raw


JUNK: tuple[object, ...] = ("x", [1], {}, -1, 0)
NO_NUMBERS: tuple[object, ...] = ("x", [1], {}, None)
UNSUPPORTED: list[tuple[str, object]] = [
    *((f"encoder.{name}", False) for name in ("layer_norm_eps", "hidden_dropout_prob")),
    *((f"decoder.{name}", False) for name in ("layer_norm_epsilon", "resid_pdrop")),
    ("model_type", "git"),
    ("model_type", None),
    ("encoder", None),
    ("encoder", "vit"),
    ("decoder", []),
    ("encoder.model_type", "deit"),
    ("decoder.model_type", "opt"),
    ("decoder.add_cross_attention", False),
    ("decoder_start_token_id", 10),
    ("decoder_start_token_id", -1),
    ("eos_token_id", 10),
    ("eos_token_id", [1, 10]),
    ("eos_token_id", []),
    ("eos_token_id", None),
    ("pad_token_id", 10),
    ("encoder.num_channels", 1),
    ("encoder.num_channels", 4),
    ("encoder.hidden_size", 30),  # 4 heads
    ("encoder.image_size", 225),  # patches of 16
    ("encoder.image_size", [224, 224]),
    ("encoder.hidden_act", "swish"),
    ("encoder.hidden_dropout_prob", 1.0),
    ("encoder.attention_probs_dropout_prob", -0.1),
    ("decoder.n_head", 7),
    ("decoder.activation_function", "silu"),
    ("decoder.n_inner", 0),
    ("decoder.embd_pdrop", 1),
    ("decoder.resid_pdrop", -1),
    ("decoder.attn_pdrop", "x"),
    *(
        (f"encoder.{name}", value)
        for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        for value in JUNK
    ),
    *((f"encoder.{name}", value) for name in ("image_size", "patch_size") for value in JUNK),
    *(
        (f"encoder.{name}", value)
        for name in ("layer_norm_eps", "hidden_dropout_prob")
        for value in NO_NUMBERS
    ),
    *(
        (f"decoder.{name}", value)
        for name in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner")
        for value in JUNK
    ),
    *((f"decoder.{name}", value) for name in ("layer_norm_epsilon", "attn_pdrop") for value in NO_NUMBERS),
    ("encoder.layer_norm_eps", -1.0),
    ("decoder.layer_norm_epsilon", -1.0),
    ("encoder.qkv_bias", "yes"),
    ("decoder.scale_attn_weights", None),
    ("decoder.scale_attn_by_inverse_layer_idx", "no"),
    ("encoder.hidden_act", ["gelu"]),
    ("decoder.activation_function", None),
    *(
        (name, value)
        for name in ("decoder_start_token_id", "eos_token_id", "pad_token_id")
        for value in ("x", 1.5)
    ),
]


@pytest.mark.parametrize(("path", "value"), UNSUPPORTED)
def test_what_is_not_supported_is_named(path: str, value: object) -> None:
    with pytest.raises(ConfigError, match=path.rpartition(".")[2]):
        read(changed(path, value))


def test_a_minimal_file_has_the_defaults_of_transformers() -> None:
    from transformers import GPT2Config as TheirGPT2Config
    from transformers import ViTConfig

    config = read(minimal())
    for ours, theirs in (
        (VisionConfig(), ViTConfig()),
        (GPT2Config(), TheirGPT2Config()),
        (config.encoder, ViTConfig(**minimal()["encoder"])),
        (config.decoder, TheirGPT2Config(**minimal()["decoder"])),
    ):
        for name in set(ours.__dataclass_fields__) - {"stem", "layer_scale"}:  # a ViT's own config has none
            assert getattr(ours, name) == getattr(theirs, name), name


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ({"decoder_start_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}, {}, (1, (2,), 3)),
        ({"eos_token_id": [2, 4]}, {"bos_token_id": 5}, (5, (2, 4), 2)),
        ({}, {"bos_token_id": 5, "eos_token_id": 6, "pad_token_id": 7}, (5, (6,), 7)),
        (
            {"decoder_start_token_id": 0, "pad_token_id": 0},
            {"bos_token_id": 5, "eos_token_id": 0},
            (0, (0,), 0),
        ),
        ({"bos_token_id": 8, "eos_token_id": 9}, {"eos_token_id": 6}, (8, (9,), 9)),
    ],
)
def test_the_decoders_token_ids_stand_in_for_missing_ones(
    outer: dict[str, Any], inner: dict[str, Any], expected: tuple[int, tuple[int, ...], int]
) -> None:
    raw = {key: value for key, value in minimal().items() if not key.endswith("_token_id")} | outer
    raw["decoder"] |= inner
    config = read(raw)
    assert (config.decoder_start_token_id, config.eos_token_ids, config.pad_token_id) == expected


def test_a_missing_start_token_is_named() -> None:
    raw = minimal()
    del raw["decoder_start_token_id"]
    with pytest.raises(ConfigError, match="decoder_start_token_id is missing"):
        read(raw)


@pytest.mark.parametrize("eos", [(2,), (2, 4)])
def test_writing_and_reading_gives_the_same_configuration(eos: tuple[int, ...]) -> None:
    config = ModelConfig(
        encoder=VisionConfig(48, 3, 6, 99, 96, 32, 3, "relu", 1e-6, False, 0.1, 0.2),
        decoder=GPT2Config(77, 13, 24, 5, 2, 31, "gelu", 1e-4, False, True, 0.3, 0.4, 0.5),
        decoder_start_token_id=1,
        eos_token_ids=eos,
        pad_token_id=3,
    )
    assert read(json.loads(json.dumps(write_config(config)))) == config


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published files are not here")
def test_a_published_configuration_is_read() -> None:
    config = read(read_json(PUBLISHED / "config.json"))
    assert config.encoder == VisionConfig()  # ViT-B/16
    assert config.decoder == GPT2Config()  # GPT-2 small
    assert (config.decoder_start_token_id, config.eos_token_ids, config.pad_token_id) == (
        50256,
        (50256,),
        50256,
    )
    assert config.encoder.grid == 14


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "nothing", '"text"', "null"])
def test_a_file_that_holds_no_object_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config\.json") as caught:
        read_json(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"config\.json"):
        read_json(path)
    with pytest.raises(ConfigError, match=r"other\.json does not exist"):
        read_json(tmp_path / "other.json")
    with pytest.raises(ConfigError, match=r"cannot be read"):
        read_json(tmp_path)
