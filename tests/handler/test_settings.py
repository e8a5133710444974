from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from handler.settings import Settings, SettingsError
from model.image import MAX_PIXELS
from model.options import BeamOptions

SHIPPED = Path(__file__).parents[2] / "archive" / "model-config.yaml"


def test_the_file_that_ships_is_valid() -> None:
    settings = Settings.from_yaml(yaml.safe_load(SHIPPED.read_text()))
    assert settings.dtype is None
    assert settings.max_pixels == MAX_PIXELS
    assert BeamOptions().replace(**settings.options)


def test_each_key_is_read() -> None:
    own = {"dtype": "bfloat16", "max_pixels": 100, "options": {"num_beams": 2}}
    settings = Settings.from_yaml({"maxWorkers": 3, "captioner": own})
    assert settings == Settings(3, torch.bfloat16, 100, {"num_beams": 2})


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
        ({"maxWorkers": 1, "captioner": {"options": [4]}}, "captioner.options is"),
    ],
)
def test_a_bad_value_is_named(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.from_yaml(raw)


@pytest.mark.parametrize(("workers", "cores", "threads"), [(1, 8, 8), (2, 8, 4), (3, 8, 2), (4, 2, 1)])
def test_cores_are_shared_among_workers(workers: int, cores: int, threads: int) -> None:
    assert Settings(workers).threads(cores) == threads
