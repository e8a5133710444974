"""`python -m bench.heatmaps`: train a captioner of drawn shapes, and score every kind of heatmap on it."""

import argparse
import json
import logging
import time
from dataclasses import asdict
from pathlib import Path

import torch

from bench.heatmaps.compare import accuracy, compare, drawn_scenes
from bench.heatmaps.learner import trained, untrained

STEPS, SCENES, SEED = 1500, 50, 0


def main() -> None:
    """Print a table, one line for each method, and write the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.heatmaps", description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS, help="of training (default: %(default)s)")
    parser.add_argument(
        "--scenes", type=int, default=SCENES, help="that are explained (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=SEED, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("build/heatmaps.json"))
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)  # the network is so small that a second thread costs more than it brings
    began = time.perf_counter()
    captioner = trained(given.steps, given.seed)
    scenes = drawn_scenes(given.scenes, given.seed + 1)
    right = accuracy(captioner, scenes)
    seconds = time.perf_counter() - began
    print(f"{given.steps} steps in {seconds:.0f} s; {right:.0%} of {given.scenes} captions right")
    scores = compare(captioner, untrained(given.seed + 1), scenes)
    print(f"{'':22}pointing  deletion  insertion  agreement with random weights")
    for name, found in scores.items():
        print(
            f"{name:22}{found.pointing:8.2f}{found.deletion:10.2f}{found.insertion:11.2f}{found.agreement:11.2f}"
        )
    given.out.parent.mkdir(parents=True, exist_ok=True)
    figures = {"captions_right": right} | {name: asdict(found) for name, found in scores.items()}
    given.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"all figures: {given.out}")


if __name__ == "__main__":
    main()
