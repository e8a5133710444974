"""`python -m bench`: engine against transformers, agreement of number formats, and the server.

Run it on a quiet machine. Ratios hold anywhere; milliseconds are of the machine it names.
"""

import argparse
import json
import logging
import os
import platform
from dataclasses import asdict
from pathlib import Path

import torch
import transformers

from bench.agreement import agreement
from bench.engine import compare
from bench.server import measure
from model.network.precision import best_dtype

CHECKPOINT = Path("checkpoints/flickr8k-coco")
SAMPLE = Path("examples/dog.jpg")


def main() -> None:
    """Measure everything, print a line for each figure, and write them all as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--photos", type=Path, default=SAMPLE.parent, help="folder for the agreement figures")
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    sample = SAMPLE.read_bytes()
    machine = (
        f"{cpu()}, {os.cpu_count()} cores, torch {torch.__version__}, transformers {transformers.__version__}"
    )
    print(machine)
    figures: dict[str, object] = {"machine": machine}

    figures["engine"] = comparisons = []
    for dtype in dict.fromkeys([torch.float32, best_dtype()]):
        for batch in (1, 8):
            found = compare(arguments.checkpoint, [sample], dtype, batch)
            comparisons.append(asdict(found))
            print(
                f"{found.dtype}, {batch} photo(s) at once: {found.ours:.1f} ms a photo, "
                f"transformers {found.theirs:.1f} ms: {found.ratio:.2f} × "
                f"({found.ratio_low:.2f} to {found.ratio_high:.2f})"
            )

    photos = sorted(path for path in arguments.photos.iterdir() if path.suffix in {".jpg", ".png", ".webp"})
    same = agreement(arguments.checkpoint, [path.read_bytes() for path in photos])
    figures["agreement"] = asdict(same)
    print(f"same caption, of {same.photos} photo(s):")
    print(f"  float32 in batches of 32 and one by one: {same.float32_batched:.1%}")
    print(f"  bfloat16 in batches of 32 and one by one: {same.bfloat16_batched:.1%}")
    print(f"  bfloat16 and float32, one by one: {same.bfloat16:.1%}")

    served = measure(arguments.checkpoint, sample)
    figures["server"] = asdict(served)
    print(f"server: ready {served.ready:.1f} s after the launch")
    print(f"  one client over HTTP: p50 {served.http_p50:.0f} ms, p95 {served.http_p95:.0f} ms")
    print(f"  one client over gRPC: p50 {served.grpc_p50:.0f} ms")
    for method, beside in served.beside.items():
        ratio = beside / served.http_p50
        print(
            f"  one client over HTTP beside one that explains by {method}: p50 {beside:.0f} ms, {ratio:.1f} ×"
        )
    print(f"  eight clients: {served.photos_per_second:.0f} photos/s")
    print(f"  memory: worker {served.worker_memory:.0f} MB, front end {served.front_end_memory:.0f} MB")

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"all figures: {arguments.out}")


def cpu() -> str:
    """Name the processor, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "?")


if __name__ == "__main__":
    main()
