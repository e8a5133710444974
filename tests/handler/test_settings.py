import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from handler.policy import Policy
from handler.settings import KEYS, Settings, SettingsError
from model.explain.bounds import ExplainBounds
from model.image import MAX_PIXELS
from model.search.options import GenerationOptions

SHIPPED = Path(__file__).parents[2] / "archive" / "model-config.yaml"


def test_the_file_that_ships_is_valid() -> None:
    settings = Settings.from_yaml(yaml.safe_load(SHIPPED.read_text()))
    assert settings.dtype is None
    assert (settings.max_photos, settings.max_pixels) == (8, MAX_PIXELS)
    assert settings.limits == {"num_beams": 16, "num_captions": 16, "max_new_tokens": 64}
    Policy(GenerationOptions().replace(**settings.options), settings.limits, settings.max_photos)


def test_a_reply_stays_below_what_ends_the_worker() -> None:
    settings = Settings.from_yaml(yaml.safe_load(SHIPPED.read_text()))
    properties = (SHIPPED.parents[1] / "config.properties").read_text()
    (limit,) = re.findall(r"^max_response_size=(\d+)$", properties, re.MULTILINE)
    assert settings.max_reply_bytes < int(limit)


def test_each_key_is_read() -> None:
    own = {
        "dtype": "bfloat16",
        "max_photos": 2,
        "max_pixels": 100,
        "max_reply_bytes": 1000,
        "options": {"num_beams": 2},
        "limits": {"num_beams": 3, "top_k": 9},
        "explain": {"max_words": 4, "max_passes": 50, "max_seconds": 3},
        "log_requests": True,
    }
    settings = Settings.from_yaml({"maxWorkers": 3, "captioner": own})
    assert own.keys() == KEYS
    assert settings == Settings(
        3,
        torch.bfloat16,
        2,
        100,
        1000,
        {"num_beams": 2},
        {"num_beams": 3, "top_k": 9},
        ExplainBounds(4, 50),
        3,
        True,
    )
    limits = {"num_beams": 3, "top_k": 9, "max_words": 4, "max_passes": 50, "max_seconds": 3}
    assert settings.described_limits() == {"max_photos": 2, "max_pixels": 100} | limits


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({}, "maxWorkers is None"),
        ({"maxWorkers": 0}, "maxWorkers is 0"),
        ({"maxWorkers": True}, "maxWorkers is True"),
        ({"maxWorkers": 1, "captioner": 5}, "captioner is 5"),
        ({"maxWorkers": 1, "captioner": {"dtpye": "auto"}}, "captioner.dtpye is unknown"),
        ({"maxWorkers": 1, "captioner": {"dtype": "float16"}}, "captioner.dtype is 'float16'"),
        ({"maxWorkers": 1, "captioner": {"max_pixels": "many"}}, "captioner.max_pixels is 'many'"),
        ({"maxWorkers": 1, "captioner": {"max_photos": 0}}, "captioner.max_photos is 0"),
        ({"maxWorkers": 1, "captioner": {"log_requests": "no"}}, "captioner.log_requests is 'no'"),
        ({"maxWorkers": 1, "captioner": {"options": [4]}}, "captioner.options is"),
        ({"maxWorkers": 1, "captioner": {"limits": {"seed": 4}}}, "captioner.limits.seed is unknown"),
        ({"maxWorkers": 1, "captioner": {"limits": {"num_beams": 0}}}, "captioner.limits.num_beams is 0"),
        ({"maxWorkers": 1, "captioner": {"explain": {"words": 4}}}, "captioner.explain.words is unknown"),
        ({"maxWorkers": 1, "captioner": {"explain": {"max_passes": 4}}}, "captioner.explain.max_passes is 4"),
    ],
)
def test_a_bad_value_is_named(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.from_yaml(raw)


@pytest.mark.parametrize(("workers", "cores", "threads"), [(1, 8, 8), (2, 8, 4), (3, 8, 2), (4, 2, 1)])
def test_cores_are_shared_among_workers(workers: int, cores: int, threads: int) -> None:
    assert Settings(workers).threads(cores) == threads
