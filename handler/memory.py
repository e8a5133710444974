"""Hands memory back to the system that batches have left behind.

Two things hold hundreds of MB after explanations, bodies of many MB and their errors: an error that was
kept and the frame that kept it hold each other, with all photos in that frame, until Python next looks
for such cycles; and glibc keeps what lies between blocks in use.
"""

import ctypes
import gc
import os
from pathlib import Path

SPARE = 16_000_000
"""Bytes that the process may hold beyond what it held after the last time: trimming after every
batch would cost about a thirtieth of the batch's time."""

STATM = Path("/proc/self/statm")


class Memory:
    """The memory of this process; where the C library is not glibc, nothing is done."""

    def __init__(self) -> None:
        gc.collect()
        gc.freeze()  # modules and model stay: looking for cycles among them would take 0.15 s each time
        self.trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self.held = 0
        if self.trim is not None:
            self.trim(0)  # what loading has left
            self.held = resident()

    def release(self) -> None:
        """Hand unused memory back, if much has come together."""
        if self.trim is None:
            return
        if (now := resident()) > self.held + SPARE:
            gc.collect()
            self.trim(0)
            self.held = resident()
        else:
            self.held = min(self.held, now)


def resident() -> int:
    """Return the bytes of memory that this process holds (proc(5), statm)."""
    return int(STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
