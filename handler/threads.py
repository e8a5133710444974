"""Divides the processor's cores among the workers of a version, as many as run at the moment.

TorchServe changes their number at any time and tells none of those that run. They are the processes
with the same parent, its front end, that work in the same extracted archive.
"""

import contextlib
import time

import psutil
import torch

PERIOD = 2.0
"""Seconds between looks at the other processes: one takes 1 ms with 84 processes on the machine."""
WORKER = "model_service_worker.py"


class Threads:
    """The threads of this process, an equal share of `cores` for each worker, and at least one."""

    def __init__(self, cores: int) -> None:
        self.cores = cores
        self.looked = time.monotonic()

    def share(self) -> None:
        """Take what is due to this process, where the last look is old enough; between two batches."""
        if time.monotonic() - self.looked >= PERIOD:
            self.looked = time.monotonic()
            if workers := siblings(psutil.Process()):  # 0 outside of TorchServe
                torch.set_num_threads(max(1, self.cores // workers))


def siblings(own: psutil.Process) -> int:
    """Count the workers of a worker's version, itself among them; 0 where it is no worker."""
    count = 0
    with contextlib.suppress(psutil.Error):
        parent, folder = own.parent(), own.cwd()
        for process in parent.children() if parent else ():
            with contextlib.suppress(psutil.Error):  # it has ended meanwhile
                if process.cwd() == folder and any(WORKER in word for word in process.cmdline()):
                    count += 1
    return count
