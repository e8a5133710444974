"""A new version beside the current one: golden photos, and the scores of a folder with captions."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from serving.errors import ServingError
from serving.versions.bounds import Bounds
from serving.versions.management import Say
from serving.versions.probe import Answer, Probe

REPEATS = 10  # of each photo; what is told is their median


@dataclass(frozen=True, slots=True)
class Gate:
    """Photos with captions on which the new version must score as well."""

    folder: Path
    split: str


@dataclass(frozen=True, slots=True)
class Measured:
    """What a version made of the golden photos."""

    answers: Mapping[str, Answer]  # photo → its last one
    seconds: tuple[float, ...]  # of every request, one at a time

    @property
    def p50(self) -> float:
        """Median latency in s."""
        return median(self.seconds)

    @property
    def p95(self) -> float:
        """95th percentile of latency in s."""
        return quantiles(self.seconds, n=20)[-1]


def measure(probe: Probe, photos: Mapping[str, bytes], *versions: str) -> list[Measured]:
    """Send the photos to versions by turns, so that what else the machine does meets all of them."""
    answers: dict[str, dict[str, Answer]] = {version: {} for version in versions}
    seconds: dict[str, list[float]] = {version: [] for version in versions}
    for _ in range(REPEATS):
        for path, photo in photos.items():
            for version in versions:
                answers[version][path] = answer = probe.ask(photo, version, patience=60)
                seconds[version].append(answer.seconds)
    return [Measured(answers[version], tuple(seconds[version])) for version in versions]


def compare(current: Measured, new: Measured, bounds: Bounds, say: Say) -> None:
    """Show what differs; raises ServingError where that is beyond a bound."""
    changed = 0
    for path, before in current.answers.items():
        after = new.answers[path]
        if after.caption != before.caption:
            changed += 1
            say(f"{path}:")
            for answer in (before, after):
                say(f"  {answer.version}: {answer.caption} (score {answer.score:.2f})")
        else:
            say(f"{path}: the same caption, score {before.score:.2f} → {after.score:.2f}")
    share = changed / len(current.answers)
    slower = new.p50 / current.p50
    say(
        f"captions changed: {changed} of {len(current.answers)}; "
        f"latency p50 {1000 * current.p50:.0f} → {1000 * new.p50:.0f} ms"
    )
    if share > bounds.changed:
        raise ServingError(f"{share:.0%} of the captions changed: beyond changed={bounds.changed:g}")
    if slower > bounds.slower:
        raise ServingError(f"a caption takes {slower:.2f} times as long: beyond slower={bounds.slower:g}")


def compare_scores(probe: Probe, gate: Gate, versions: tuple[str, str], bounds: Bounds, say: Say) -> None:
    """Have the current and the new version caption a folder; raises ServingError where CIDEr falls."""
    before, after = (cider(probe, gate, version) for version in versions)
    say(f"CIDEr on {gate.split} of {gate.folder}: {before:.3f} → {after:.3f}")
    if before - after > bounds.cider:
        raise ServingError(f"CIDEr falls by {before - after:.3f}: beyond cider={bounds.cider:g}")


def cider(probe: Probe, gate: Gate, version: str) -> float:
    """Have the server's captions of a split scored, by the command that `make evaluate` runs."""
    with tempfile.TemporaryDirectory() as scratch:
        scores = Path(scratch) / "scores.json"
        command = [
            sys.executable,
            "-m",
            "training",
            "evaluate",
            "--data",
            str(gate.folder),
            "--split",
            gate.split,
        ]
        command += ["--server", probe.config.inference.url, "--name", f"{probe.name}/{version}"]
        done = subprocess.run(
            [*command, "--out", str(scores)], stdout=subprocess.DEVNULL, cwd=probe.root, check=False
        )
        if done.returncode or not scores.exists():
            raise ServingError(f"the captions of {version} for {gate.folder} cannot be scored")
        return float(json.loads(scores.read_text(encoding="utf-8"))["scores"]["CIDEr"])
