"""What the cases got, as a table for people, and the failing ones as files."""

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from fuzz.case import Case
from fuzz.run import Fault
from serving.inference_pb2 import PredictionsRequest


def table(counts: Counter[tuple[str, str]]) -> Iterator[str]:
    """Yield a line a kind, a column a status; a star marks replies of TorchServe's front end."""
    statuses = sorted({status for _, status in counts})
    kinds = sorted({kind for kind, _ in counts}, key=str.lower)
    width = max(map(len, kinds), default=0)
    yield " ".join(["".ljust(width), *(status.rjust(6) for status in statuses)])
    for kind in kinds:
        yield " ".join([kind.ljust(width), *(str(counts[kind, status]).rjust(6) for status in statuses)])
    sums = [sum(counts[kind, status] for kind in kinds) for status in statuses]
    yield " ".join(["all".ljust(width), *(str(total).rjust(6) for total in sums)])


def save(faults: Sequence[Fault], folder: Path) -> Iterator[str]:
    """Write the bytes of failing cases into a new folder; yields a line on each: how to send it again."""
    shutil.rmtree(folder, ignore_errors=True)
    if faults:
        folder.mkdir(parents=True)
    for fault in faults:
        name = f"{fault.seed} {fault.number} {fault.kind}".replace(" ", "-") + ".bin"
        (folder / name).write_bytes(wire(fault.case))
        again = f'.venv/bin/python -m fuzz --seed "{fault.seed}" --only {fault.number}'
        yield f"{fault.kind}: {fault.what} ({folder / name}; again: {again})"


def wire(case: Case) -> bytes:
    """Return a case's HTTP body, or its gRPC message."""
    if case.inputs is None:
        return case.body
    return PredictionsRequest(input=case.inputs).SerializeToString()
