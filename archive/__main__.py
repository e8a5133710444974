"""`python -m archive`: build an archive in the working directory from a checkpoint."""

import argparse
import sys
from pathlib import Path

from archive.build import CONFIG, build
from archive.errors import ArchiveError
from archive.origin import Origin


def main() -> int:
    """Read the command line, build, print one line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m archive", description=__doc__)
    parser.add_argument(
        "--checkpoint", required=True, help="folder in Hugging Face layout, or a hub's OWNER/NAME"
    )
    parser.add_argument("--revision", help="branch, tag or commit of a hub's repository")
    parser.add_argument("--config", type=Path, default=CONFIG, help="workers, batching, search options")
    parser.add_argument("--name", default="captioner", help="model name")
    parser.add_argument("--version", default="1.0", help="version that TorchServe lists")
    parser.add_argument("--file", help="the file's name, where it is not NAME.mar")
    arguments = parser.parse_args()
    try:
        origin = Origin.of(arguments.checkpoint, arguments.revision)
        path = build(
            origin,
            arguments.name,
            arguments.version,
            Path.cwd(),
            file=arguments.file,
            config=arguments.config,
        )
    except ArchiveError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    size = path.stat().st_size / 1e6
    print(f"{path.name}: {size:.1f} MB, verified; source {origin.source}, licence {origin.card.licence}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
