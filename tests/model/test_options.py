"""Generation options: each bad value is refused by name, files mean what transformers means by them."""

import math
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from model.errors import OptionError
from model.search.options import GenerationOptions
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
    *(("do_sample", value) for value in (0, 1, "true", None)),
    *(("temperature", value) for value in (0, 0.0, -1, 11, math.nan, "1", True, None)),
    *(("top_k", value) for value in (-1, 1.0, "5", True, None)),
    *(("top_p", value) for value in (0, -0.1, 1.01, math.nan, "0.5", True, None)),
    *(("seed", value) for value in (-1, 2**32, 1.0, "7", True, 10**1000)),
    ("num_beam", 2),
    ("", 1),
]


@pytest.mark.parametrize(("field", "value"), BAD)
def test_a_bad_value_is_refused_by_name(field: str, value: object) -> None:
    options = GenerationOptions(num_beams=4)
    with pytest.raises(OptionError) as caught:
        options.replace(**{field: value})
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


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
    ("temperature", 0.01),
    ("top_k", 0),
    ("top_p", 0.01),
    ("seed", 0),
    ("seed", 2**32 - 1),
]


@pytest.mark.parametrize(("field", "value"), GOOD)
def test_a_good_value_replaces_the_old_one(field: str, value: object) -> None:
    options = GenerationOptions(num_beams=4)
    changed = options.replace(**{field: value})
    assert getattr(changed, field) == value
    assert changed.replace(**{field: getattr(options, field)}) == options


def test_two_options_are_checked_together() -> None:
    assert GenerationOptions().replace(num_beams=3, num_captions=3).num_captions == 3
    with pytest.raises(OptionError, match="num_captions: 3 is more than num_beams"):
        GenerationOptions(num_beams=4, num_captions=3).replace(num_beams=2)
    with pytest.raises(OptionError, match="min_new_tokens: 5 is more than max_new_tokens"):
        GenerationOptions(min_new_tokens=5).replace(max_new_tokens=4)


SEARCH = GenerationOptions(4, 2, 17, 3, 0.7, "never", 2, 1.2)
SAMPLES = GenerationOptions(do_sample=True, num_captions=3, temperature=0.7, top_k=9, top_p=0.8)


def test_a_file_keeps_every_option() -> None:
    plain = GenerationOptions()
    for field in GenerationOptions.__dataclass_fields__:
        assert field == "seed" or any(
            getattr(options, field) != getattr(plain, field) for options in (SEARCH, SAMPLES)
        )
    for options in (SEARCH, SAMPLES):
        assert GenerationOptions.from_generation_config(options.to_generation_config()) == options


def test_sampling_has_no_beams() -> None:
    search = GenerationOptions(num_beams=4, num_captions=2)
    assert search.replace(do_sample=True).num_beams == 1
    assert search.replace(do_sample=True, num_captions=16).num_captions == 16
    with pytest.raises(OptionError, match="num_beams: 4 is more than 1, and sampling"):
        search.replace(do_sample=True, num_beams=4)
    with pytest.raises(OptionError, match="num_beams: 2 is more than 1, and sampling"):
        SAMPLES.replace(num_beams=2)
    with pytest.raises(OptionError, match="num_captions: 3 is more than num_beams"):
        SAMPLES.replace(do_sample=False)


@pytest.mark.parametrize(("wrong", "meant"), [("num_beam", "num_beams"), ("temprature", "temperature")])
def test_an_unknown_option_names_the_nearest(wrong: str, meant: str) -> None:
    with pytest.raises(OptionError, match=f"{wrong}: is not an option; did you mean {meant}?"):
        GenerationOptions().replace(**{wrong: 1})


def test_transformers_reads_the_same_options_from_the_file() -> None:
    for options in (SEARCH, SAMPLES):
        raw = options.to_generation_config()
        theirs = GenerationConfig(**raw).to_dict()
        assert {name: theirs[name] for name in raw} == raw
        assert theirs["num_return_sequences"] == options.num_captions


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
    options = GenerationOptions.from_generation_config(raw)
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
        ({"do_sample": True, "num_beams": 3}, "num_beams"),
        ({"do_sample": True, "typical_p": 0.9}, "typical_p"),
        ({"num_beams": 4, "num_beam_groups": 2}, "num_beam_groups"),
        ({"bad_words_ids": [[3]]}, "bad_words_ids"),
        ({"suppress_tokens": [3, 4]}, "suppress_tokens"),
    ],
)
def test_a_bad_file_is_refused_by_name(raw: dict[str, Any], field: str) -> None:
    with pytest.raises(OptionError) as caught:
        GenerationOptions.from_generation_config(raw)
    assert caught.value.field.startswith(field)


def test_nulls_in_a_file_mean_the_defaults() -> None:
    names = [*GenerationOptions.__dataclass_fields__, "max_length", "min_length", "num_return_sequences"]
    assert GenerationOptions.from_generation_config(dict.fromkeys(names)) == GenerationOptions()


def test_other_settings_of_a_file_are_passed_over() -> None:
    raw = {"_from_model_config": True, "bos_token_id": 1, "transformers_version": "4.39.2", "num_beams": 3}
    off: dict[str, object] = {
        "typical_p": 0.9,
        "num_beam_groups": 1,
        "bad_words_ids": None,
        "suppress_tokens": [],
    }
    assert GenerationOptions.from_generation_config(raw | off) == GenerationOptions(num_beams=3)


def test_what_transformers_writes_by_default_is_supported() -> None:
    raw = GenerationConfig(num_beams=3, max_new_tokens=9).to_dict()
    assert GenerationOptions.from_generation_config(raw) == GenerationOptions(num_beams=3, max_new_tokens=9)
