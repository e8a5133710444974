"""What holds for all tests: threads, random numbers, and the marker of each folder."""

import os
from pathlib import Path

import pytest
import torch

# The models of the tests are tiny: a second thread costs more than it brings, most of all
# where other work shares the cores. `make test-portable` asks for two all the same.
torch.set_num_threads(int(os.environ.get("TEST_THREADS", "1")))

MARKERS = {
    **dict.fromkeys(("model", "handler", "checkpoints", "docs"), "engine"),
    **dict.fromkeys(("archive", "serving", "fuzz", "clients", "operations", "chaos"), "server"),
    **dict.fromkeys(("training", "bench"), "training"),
}
"""Folder of tests → marker, for `pytest -m`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its folder; a KeyError is a new folder that MARKERS lacks."""
    for item in items:
        item.add_marker(MARKERS[item.path.relative_to(Path(__file__).parent).parts[0]])


@pytest.fixture(autouse=True)
def _the_same_random_numbers_in_any_order() -> None:
    torch.manual_seed(0)
