"""What is kept in a cache is computed once, by one of several processes, and is whole or not there."""

import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest

from tests.training.stages.test_pretrain import write_images
from training.data import labelled_images
from training.data.cache import cached
from training.data.photos import Photos
from training.errors import DataError


def test_it_is_written_once_and_read_after_that(tmp_path: Path) -> None:
    calls: list[Path] = []

    def write(aside: Path) -> None:
        calls.append(aside)
        with aside.open("wb") as file:
            np.save(file, np.arange(3))

    for _ in range(2):
        assert cached(tmp_path / "new" / "a.npy", write).tolist() == [0, 1, 2]
    assert len(calls) == 1
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"a.npy", "a.lock"}


def test_nothing_is_left_where_it_fails(tmp_path: Path) -> None:
    def write(aside: Path) -> None:
        aside.write_bytes(b"half")
        raise DataError("a photo is missing")

    with pytest.raises(DataError, match="a photo is missing"):
        cached(tmp_path / "a.npy", write)
    assert [path.name for path in tmp_path.iterdir()] == ["a.lock"]


def _read(folder: Path, calls: "multiprocessing.Queue[int]") -> None:
    decode = labelled_images._decode_all

    def counted(encoded: list[bytes], where: Path) -> Photos:
        calls.put(len(encoded))
        time.sleep(1)  # long enough that the other process comes by
        return decode(encoded, where)

    labelled_images._decode_all = counted  # in this process alone
    images = labelled_images.read_labelled_images(folder, "train", folder / "cache")
    assert images.images[:, 0, 0].tolist() == [[255, 0, 0], [0, 255, 0]]


def test_of_two_processes_one_decodes_labelled_images(tmp_path: Path) -> None:
    write_images(tmp_path, "train", [(255, 0, 0), (0, 255, 0)])
    context = multiprocessing.get_context("spawn")
    calls = context.Queue()
    both = [context.Process(target=_read, args=(tmp_path, calls)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
        assert process.exitcode == 0
    assert calls.get(timeout=10) == 2
    assert calls.empty()
