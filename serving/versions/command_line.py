"""The commands `rollout`, `rollback`, `status`, `scale` and `release` of `python -m serving`."""

import argparse
import signal
import sys
from pathlib import Path

from serving.config import ServerConfig
from serving.errors import ServingError
from serving.store import Archive, named
from serving.versions import operations
from serving.versions.bounds import Bounds
from serving.versions.compare import Gate
from serving.versions.management import Management
from serving.versions.probe import Probe, read_photos
from serving.versions.rollout import Trial, roll_out
from serving.versions.state import one_at_a_time

NAMES = ("rollout", "rollback", "status", "scale", "release")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands to a parser's."""
    rollout = commands.add_parser(
        "rollout", help="serve a new version, if it is no worse than the current one"
    )
    rollout.add_argument("archive", type=Path, metavar="FILE.mar")
    rollout.add_argument("--gate", type=Path, metavar="FOLDER", help="compare CIDEr on photos with captions")
    rollout.add_argument("--split", default="dev", help="of the folder")
    rollout.add_argument("--bounds", nargs="+", default=[], metavar="NAME=VALUE", help=f"of {Bounds()}")
    rollback = commands.add_parser("rollback", help="serve the version before")
    status = commands.add_parser("status", help="show versions, workers, and whether a photo gets a caption")
    scale = commands.add_parser("scale", help="change how many workers the default version has")
    scale.add_argument("workers", type=int)
    release = commands.add_parser("release", help="unregister every version but the default")
    for command in (rollout, rollback, status):
        command.add_argument("--photos", type=Path, default=Path("examples"), help="folder of golden photos")
    for command in (rollout, rollback, scale, release):
        command.add_argument("--dry-run", action="store_true", help="show the calls, and change nothing")


def run(arguments: argparse.Namespace, config: ServerConfig) -> None:
    """Run one of `NAMES`; raises ServingError."""
    root, name = Path.cwd(), arguments.name
    probe = Probe(root, config, name)
    if arguments.command == "status":
        management = Management(root, config, name, tell)
        for line in operations.status(management, probe, read_photos(arguments.photos)):
            tell(line)
        return
    # What is half done is undone, also where the terminal is closed or nobody reads what is printed.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    management = Management(root, config, name, tell, dry=arguments.dry_run)
    with one_at_a_time(root, name):
        match arguments.command:
            case "rollout":
                archive = named(Archive.from_file(arguments.archive), name)
                bounds = Bounds.parse(arguments.bounds)
                gate = arguments.gate and Gate(arguments.gate, arguments.split)
                trial = Trial(read_photos(arguments.photos), bounds, gate)
                roll_out(management, probe, archive, trial)
            case "rollback":
                operations.roll_back(management, probe, read_photos(arguments.photos))
            case "scale":
                if arguments.workers < 1:
                    raise ServingError(f"WORKERS={arguments.workers}: at least 1 is needed to answer")
                operations.scale(management, arguments.workers)
            case "release":
                operations.release(management)


def tell(line: str) -> None:
    """Print a line at once, as the next one may take a while."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
