"""Hands memory back to the system that a batch has left behind in the C library's heap.

glibc keeps what lies between blocks in use: after explanations, or bodies of many MB, that is
hundreds of MB for good.
"""

import ctypes
import os
from pathlib import Path

SPARE = 32_000_000
"""Bytes that the process may hold beyond what it held after the last time: trimming after every
batch would cost about a thirtieth of the batch's time."""

STATM = Path("/proc/self/statm")


class Heap:
    """The heap of this process; where the C library is not glibc, nothing is done."""

    def __init__(self) -> None:
        self.trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self.held = resident() if self.trim is not None else 0

    def release(self) -> None:
        """Hand unused memory back, if much has come together."""
        if self.trim is None:
            return
        if (now := resident()) > self.held + SPARE:
            self.trim(0)
            self.held = resident()
        else:
            self.held = min(self.held, now)


def resident() -> int:
    """Return the bytes of memory that this process holds (proc(5), statm)."""
    return int(STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
