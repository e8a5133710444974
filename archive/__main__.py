"""`python -m archive`: build `NAME.mar` in the working directory from a checkpoint folder."""

import argparse
import sys
from pathlib import Path

from archive.build import CONFIG, build
from archive.errors import ArchiveError


def main() -> int:
    """Read the command line, build, print one line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m archive", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder in Hugging Face layout")
    parser.add_argument("--config", type=Path, default=CONFIG, help="workers, batching, search options")
    parser.add_argument("--name", default="captioner", help="model name, and name of the file")
    parser.add_argument("--version", default="1.0", help="version that TorchServe lists")
    arguments = parser.parse_args()
    try:
        path = build(
            arguments.checkpoint, arguments.name, arguments.version, Path.cwd(), config=arguments.config
        )
    except ArchiveError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, verified")
    return 0


if __name__ == "__main__":
    sys.exit(main())
