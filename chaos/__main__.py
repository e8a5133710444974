"""`python -m chaos`: serve a checkpoint as two versions, and change between them under load."""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

from archive.build import build
from archive.origin import Origin
from chaos.rollout import roll_under_load
from serving.store import Archive
from serving.temporary import NAME, served_archive, write_properties
from serving.versions.probe import read_photos


def main() -> int:
    """Run and report. Returns the exit code: 0 where a version that was READY answered each."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/flickr8k-coco"))
    parser.add_argument("--photos", type=Path, default=Path("examples"))
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=5.0, help="requests a second")
    arguments = parser.parse_args()
    photos = read_photos(arguments.photos)
    with tempfile.TemporaryDirectory(prefix="server-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        origin = Origin.of_folder(arguments.checkpoint)
        build(origin, NAME, "1.0", folder)
        new = Archive.from_file(build(origin, NAME, "2.0", folder, file=f"{NAME}-2.0.mar"))
        write_properties(folder)
        with served_archive(folder, NAME) as server:
            report = roll_under_load(
                server,
                new,
                photos,
                count=arguments.requests,
                rate=arguments.rate,
                say=partial(print, flush=True),
            )
    for line in report.lines():
        print(line)
    problems = report.problems(new.version)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
