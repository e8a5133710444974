"""Generation options: each bad value is refused by name, files mean what transformers means by them."""

import math
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from model.errors import OptionError
from model.options import BeamOptions
from tests.model.hugging_face import PAD, START, random_model, random_pixels

BAD: list[tuple[str, object]] = [
    *(("num_beams", value) for value in (0, -1, 1.5, "3", True, None, math.nan, [2])),
    *(("num_captions", value) for value in (0, -1, 5, 1.0, "1", True, None)),
    *(("max_new_tokens", value) for value in (0, -20, 2.0, "9", True, None, math.inf)),
    *(("min_new_tokens", value) for value in (-1, 21, 1.0, "1", True, None)),
    *(
        ("length_penalty", value)
        for value in (math.nan, math.inf, -math.inf, "1", True, None, [1.0], 1e4, -1e4)
    ),
    *(("early_stopping", value) for value in ("yes", "True", "", None, 2, 1, 0, 1.0, [True])),
    *(("no_repeat_ngram_size", value) for value in (-1, 1.0, "2", True, None)),
    *(("repetition_penalty", value) for value in (0, 0.0, -1.2, math.nan, math.inf, "1", True, None, 1e300)),
    ("temperature", 0.7),
    ("num_beam", 2),
    ("", 1),
]


@pytest.mark.parametrize(("field", "value"), BAD)
def test_a_bad_value_is_refused_by_name(field: str, value: object) -> None:
    options = BeamOptions(num_beams=4)
    with pytest.raises(OptionError) as caught:
        options.replace(**{field: value})
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")
    assert "\n" not in str(caught.value)


GOOD: list[tuple[str, object]] = [
    ("num_beams", 1),
    ("num_captions", 4),
    ("max_new_tokens", 1),
    ("min_new_tokens", 20),
    ("length_penalty", -2),
    ("length_penalty", 0),
    ("length_penalty", 1.5),
    ("early_stopping", True),
    ("early_stopping", "never"),
    ("no_repeat_ngram_size", 3),
    ("repetition_penalty", 0.1),
    ("repetition_penalty", 2),
]


@pytest.mark.parametrize(("field", "value"), GOOD)
def test_a_good_value_replaces_the_old_one(field: str, value: object) -> None:
    options = BeamOptions(num_beams=4)
    changed = options.replace(**{field: value})
    assert getattr(changed, field) == value
    assert changed.replace(**{field: getattr(options, field)}) == options


def test_two_options_are_checked_together() -> None:
    assert BeamOptions().replace(num_beams=3, num_captions=3).num_captions == 3
    with pytest.raises(OptionError, match="num_captions: 3 is more than num_beams"):
        BeamOptions(num_beams=4, num_captions=3).replace(num_beams=2)
    with pytest.raises(OptionError, match="min_new_tokens: 5 is more than max_new_tokens"):
        BeamOptions(min_new_tokens=5).replace(max_new_tokens=4)


def test_a_file_keeps_every_option() -> None:
    options = BeamOptions(4, 2, 17, 3, 0.7, "never", 2, 1.2)
    assert all(
        getattr(options, field) != getattr(BeamOptions(), field) for field in BeamOptions.__dataclass_fields__
    )
    assert BeamOptions.from_generation_config(options.to_generation_config()) == options


def test_transformers_reads_the_same_options_from_the_file() -> None:
    raw = BeamOptions(4, 2, 17, 3, 0.7, "never", 2, 1.2).to_generation_config()
    theirs = GenerationConfig(**raw).to_dict()
    assert {name: theirs[name] for name in raw} == raw
    assert theirs["num_return_sequences"] == 2


@torch.inference_mode()
@pytest.mark.filterwarnings("ignore:Using the model-agnostic default")
@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"max_length": 7},
        {"max_length": 7, "max_new_tokens": 4},
        {"max_new_tokens": 5},
        {"max_length": 9, "min_length": 6},
        {"max_length": 9, "min_new_tokens": 6},
        {"max_length": 9, "min_length": 6, "min_new_tokens": 2},
        {"max_length": 2, "min_length": 1},
    ],
)
def test_lengths_mean_what_transformers_means(raw: dict[str, Any]) -> None:
    """The end token is made the likeliest, so that captions have the least length, or the least likely."""
    options = BeamOptions.from_generation_config(raw)
    for likely, expected in ((60.0, max(options.min_new_tokens + 1, 1)), (-60.0, options.max_new_tokens)):
        model = random_model(2, end_tokens=(3,), tied=False)
        last, output = model.decoder.transformer.ln_f, model.decoder.lm_head
        last.weight.zero_()
        last.bias.fill_(1.0)
        output.weight[3] = likely / model.config.decoder.n_embd
        config = GenerationConfig(
            **raw, decoder_start_token_id=START, pad_token_id=PAD, eos_token_id=3, do_sample=False
        )
        generated = model.generate(pixel_values=random_pixels(model, 1), generation_config=config)
        assert generated.shape[1] - 1 == expected


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({"num_beams": 0}, "num_beams"),
        ({"num_return_sequences": 3}, "num_captions"),
        ({"max_length": 1}, "max_new_tokens"),
        ({"max_length": "20"}, "max_"),
        ({"min_length": "3"}, "min_"),
        ({"min_length": [3]}, "min_"),
        ({"length_penalty": "long"}, "length_penalty"),
        ({"early_stopping": "sometimes"}, "early_stopping"),
    ],
)
def test_a_bad_file_is_refused_by_name(raw: dict[str, Any], field: str) -> None:
    with pytest.raises(OptionError) as caught:
        BeamOptions.from_generation_config(raw)
    assert caught.value.field.startswith(field)


def test_nulls_in_a_file_mean_the_defaults() -> None:
    names = [*BeamOptions.__dataclass_fields__, "max_length", "min_length", "num_return_sequences"]
    assert BeamOptions.from_generation_config(dict.fromkeys(names)) == BeamOptions()


def test_other_settings_of_a_file_are_passed_over() -> None:
    raw = {"_from_model_config": True, "bos_token_id": 1, "transformers_version": "4.39.2", "num_beams": 3}
    assert BeamOptions.from_generation_config(raw) == BeamOptions(num_beams=3)
