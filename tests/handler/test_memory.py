"""Memory that goes back to the system."""

import gc

import pytest

from handler.memory import SPARE, Memory, resident

BLOCK = 100_000  # bytes: small enough to lie in the heap


def leave_behind(size: int) -> bytes:
    """Fill the heap and free it again, but for the last block, which keeps the rest from going."""
    blocks = [bytes([1]) * BLOCK for _ in range(size // BLOCK)]
    return blocks[-1]


def test_much_memory_that_is_unused_goes_back() -> None:
    memory = Memory()
    if memory.trim is None:
        pytest.skip("this C library is not glibc")
    before = resident()
    last = leave_behind(5 * SPARE)
    assert resident() > before + 4 * SPARE
    memory.release()
    assert resident() < before + SPARE
    assert memory.held < before + SPARE
    assert len(last) == BLOCK


def keep_an_error(size: int) -> None:
    """Leave a cycle: the error holds this frame by its traceback, the frame the error, and `size` bytes."""
    photos = bytes([1]) * size
    kept = []
    try:
        raise ValueError(len(photos))
    except ValueError as error:
        kept.append(error)


def test_what_a_kept_error_holds_goes_back() -> None:
    memory = Memory()
    if memory.trim is None:
        pytest.skip("this C library is not glibc")
    before = resident()
    gc.disable()  # else it might have been collected by chance
    try:
        keep_an_error(2 * SPARE)
        assert resident() > before + SPARE
        memory.release()
    finally:
        gc.enable()
    assert resident() < before + SPARE


def test_little_is_kept_for_the_next_batch() -> None:
    memory = Memory()
    called: list[int] = []
    memory.trim = called.append
    memory.held = resident() - SPARE // 2
    memory.release()
    assert called == []
    memory.held = resident() - 2 * SPARE
    memory.release()
    assert called == [0]
    assert memory.held >= resident() - SPARE // 2
    memory.held = 2 * resident()  # a batch that was large, or still there, then
    memory.release()
    assert called == [0]
    assert memory.held < resident() + SPARE // 2
