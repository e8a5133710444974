"""What is asked of a photo: each value that is refused is named with its bound."""

import math

import pytest

from handler.parse.check import photo_request
from handler.parse.fields import FIELDS
from handler.photo import ExplanationRequest, PhotoRequest
from handler.policy import Policy
from model.errors import OptionError
from model.search.options import GenerationOptions

DEFAULTS = GenerationOptions(num_beams=3, max_new_tokens=12)
POLICY = Policy(DEFAULTS, limits={"num_beams": 5, "num_captions": 4, "max_new_tokens": 30})
PHOTO = b"a photo"


def read(fields: dict[str, object]) -> PhotoRequest:
    return photo_request(PHOTO, fields, "image", POLICY)


def test_nothing_given_is_the_default() -> None:
    assert read({}) == read({"explain": False}) == PhotoRequest(PHOTO, DEFAULTS)


def test_every_field_has_its_place() -> None:
    options: dict[str, object] = {
        "num_beams": 5,
        "num_captions": 2,
        "max_new_tokens": 30,
        "min_new_tokens": 3,
        "length_penalty": 0.5,
        "early_stopping": "never",
        "no_repeat_ngram_size": 2,
        "repetition_penalty": 1.5,
    }
    sampling: dict[str, object] = {"do_sample": True, "temperature": 0.5, "top_k": 3, "top_p": 0.5, "seed": 7}
    others: dict[str, object] = {"prompt": "a", "timings": True}
    explaining: dict[str, object] = {"explain": True, "method": "attention", "form": "grid"}
    given: dict[str, object] = {"caption": "a dog", "explain": True}
    assert read(options) == PhotoRequest(PHOTO, DEFAULTS.replace(**options))
    assert read(sampling) == PhotoRequest(PHOTO, DEFAULTS.replace(**sampling))
    assert read(others) == PhotoRequest(PHOTO, DEFAULTS, prompt="a", timings=True)
    assert read(explaining) == PhotoRequest(
        PHOTO, DEFAULTS, explanation=ExplanationRequest("attention", "grid", None)
    )
    assert read(given).explanation == ExplanationRequest(caption="a dog")
    assert {*options, *sampling, *others, *explaining, *given} == set(FIELDS)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_beams": "3"}, "num_beams: '3' is not an integer from 1 to 16"),
        ({"num_beams": 17}, "num_beams: 17 is not an integer from 1 to 16"),
        ({"num_beams": 10**1000}, r"num_beams: 10+\.\.\.0+ is not an integer from 1 to 16"),
        ({"num_captions": 17, "do_sample": True}, "num_captions: 17 is not an integer from 1 to 16"),
        ({"num_beams": 6}, "num_beams: 6 is more than 5, this server's limit"),
        ({"num_captions": 4}, r"num_captions: 4 is more than num_beams \(3\)"),
        ({"num_captions": 5, "do_sample": True}, "num_captions: 5 is more than 4, this server's limit"),
        ({"num_beams": 3, "do_sample": True}, "num_beams: 3 is more than 1, and sampling"),
        ({"max_new_tokens": 31}, "max_new_tokens: 31 is more than 30, this server's limit"),
        ({"num_beams": 2.5}, "num_beams: 2.5 is not an integer from 1 to 16"),
        ({"num_beams": math.inf}, "num_beams: inf is not an integer from 1 to 16"),
        ({"num_beams": 6.0}, "num_beams: 6 is more than 5, this server's limit"),
        ({"min_new_tokens": 10**400}, r"min_new_tokens: 10+\.\.\.0+ is more than max_new_tokens \("),
        ({"max_new_tokens": 10**400}, r"max_new_tokens: 10+\.\.\.0+ is more than 30"),
        ({"temperature": math.inf, "do_sample": True}, "temperature: inf is not a number from 0.01 to 10"),
        ({"length_penalty": [1] * 1000}, r"length_penalty: \[1, 1, 1, 1, 1, 1, ...\] is not a number"),
        ({"do_sample": 1}, "do_sample: 1 is not true or false"),
        ({"top_k": 5}, "top_k: has an effect only where do_sample is true"),
        (
            {"early_stopping": True, "do_sample": True},
            "early_stopping: has an effect only where do_sample is false",
        ),
        ({"seed": 5, "do_sample": False}, "seed: has an effect only where do_sample is true"),
        ({"prompt": 5}, "prompt: 5 is not a string"),
        ({"prompt": "a \ud800"}, "prompt: is no valid Unicode"),
        ({"timings": "yes"}, "timings: 'yes' is not true or false"),
        ({"explain": None}, "explain: None is not true or false"),
        ({"form": "png"}, "form: has an effect only where explain is true"),
        ({"explain": True, "method": "gradcam"}, "method: 'gradcam' is not one of occlusion, attention"),
        ({"explain": True, "form": ["png"]}, r"form: \['png'\] is not one of png, grid, values"),
        ({"explain": True, "caption": None}, "caption: None is not a string"),
        ({"explain": True, "caption": "a", "num_beams": 2}, "num_beams: has an effect only where no caption"),
    ],
)
def test_what_is_not_allowed_is_said(fields: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        read(fields)
    assert caught.value.field in fields
