"""TorchServe as a process: launch it, find it again, let it finish its work, end it."""

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from os import environ
from pathlib import Path

import psutil

from serving.access import KEY_FILE
from serving.java import java_environment

FRONT_END = "org.pytorch.serve.ModelServer"
FOLDER = Path("build", "server")  # in the server's working directory
LOGS = FOLDER / "logs"
LOGS_KEPT = 5  # of the servers before: logs.1 is the last one's
TEMPORARY = FOLDER / "tmp"  # extracted archives
STORE = FOLDER / "models"  # archives that may be loaded, and nothing else
IDLE = 0.5  # s without work after which no request is in flight
LOG_CONFIG = Path(__file__).with_name("log4j2.xml")


def find(root: Path) -> psutil.Process | None:
    """Return the front end whose working directory is `root`, however it was started."""
    for process in psutil.process_iter():
        try:
            if FRONT_END in process.cmdline() and Path(process.cwd()) == root:
                return process
        except psutil.Error:
            continue  # it ended meanwhile, or belongs to somebody else
    return None


def launch(root: Path, config: Path, models: Mapping[str, str]) -> None:
    """Start TorchServe in the background, in `root`, with models: name → file in the store.

    What an earlier server has extracted is removed first; its logs are kept.
    """
    (root / KEY_FILE).unlink(missing_ok=True)
    temporary, logs = root / TEMPORARY, root / LOGS
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    keep_logs(logs)
    logs.mkdir()
    command = [sys.executable, "-m", "ts.model_server", "--start", "--ncs"]
    command += ["--ts-config", str(config), "--model-store", str(root / STORE), "--models"]
    command += [f"{name}={file}" for name, file in models.items()]
    command += ["--log-config", str(LOG_CONFIG)]
    variables = {
        "TEMP": str(temporary),  # where archives are extracted
        "TMPDIR": str(temporary),  # where TorchServe keeps its process id, one per machine otherwise
        "LOG_LOCATION": str(logs),
        "METRICS_LOCATION": str(logs),
        # Threads that wait for each other must not spin for long: beside any other busy process, a
        # caption of 40 ms would now and then take seconds. Not to spin at all costs more than as
        # much again where the machine is idle, whose cores sleep at once. GNU's OpenMP takes the
        # second variable (turns of its loop, well below 1 ms), others the first.
        "OMP_WAIT_POLICY": "passive",
        "GOMP_SPINCOUNT": "30000",
        # oneDNN keeps what it compiled for each size of a product, up to 0.7 MB a size, for 1,024 sizes.
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256",
    }
    with (logs / "console.log").open("wb") as console:
        subprocess.run(
            command,
            cwd=root,
            env={**environ, **java_environment(), **variables},
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,  # it outlives the terminal
            check=False,
        )


def keep_logs(logs: Path) -> None:
    """Rename the logs of the servers before, which may tell why one died: logs.1 is the last one's."""
    shutil.rmtree(logs.with_name(f"{logs.name}.{LOGS_KEPT}"), ignore_errors=True)
    for number in range(LOGS_KEPT - 1, 0, -1):
        if (older := logs.with_name(f"{logs.name}.{number}")).exists():
            older.rename(logs.with_name(f"{logs.name}.{number + 1}"))
    if logs.exists():
        logs.rename(logs.with_name(f"{logs.name}.1"))


def drain(workers: Callable[[], Iterable[psutil.Process]], seconds: float, idle: float = IDLE) -> bool:
    """Wait until workers have had nothing to do for `idle` s; returns False when `seconds` ran out first.

    TorchServe resets requests in flight when it ends, and cannot be told to finish them.
    Whether there are any is seen from outside: a worker that has used no processor time for
    a while waits for work, and what it finished before has been sent.
    """
    now = time.monotonic()
    deadline, idle_since, before = now + seconds, now, time_used(workers())
    while now - idle_since < idle:
        if now > deadline:
            return False
        time.sleep(0.05)
        now, spent = time.monotonic(), time_used(workers())
        if spent != before:
            idle_since, before = now, spent
    return True


def time_used(workers: Iterable[psutil.Process]) -> float:
    """Processor time in s that worker processes have used so far."""
    total = 0.0
    for worker in workers:
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            times = worker.cpu_times()
            total += times.user + times.system
    return total


def end(process: psutil.Process, root: Path) -> None:
    """End the front end and its workers, by force where 30 s do not suffice, and drop its keys."""
    family = [process, *process.children(recursive=True)]
    process.terminate()
    _, stubborn = psutil.wait_procs(family, timeout=30)
    for left in stubborn:
        left.kill()
    psutil.wait_procs(stubborn)
    (root / KEY_FILE).unlink(missing_ok=True)
