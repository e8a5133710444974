"""`python -m serving COMMAND`, in the server's working directory; `--help` tells the commands."""

import argparse
import json
import signal
import sys
import time
from math import inf
from pathlib import Path

from archive.worker_code import outdated
from serving import process
from serving.access import KEY_FILE, access_key, revoke
from serving.client import caption_over_grpc, caption_over_http
from serving.config import ServerConfig
from serving.errors import ServingError
from serving.startup import check, start
from serving.store import Archive
from serving.versions import command_line
from serving.versions.management import Management
from serving.versions.restart import bring_workers_back, last_served
from serving.versions.state import forget

DRAIN = 15  # s that requests get to finish
KEY_LEFT = 0.1  # of its life that a key has to have left to be handed out
CLEAR_LINE = "\r\x1b[K"


def main() -> int:
    """Read the command line and run one command. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("config.properties"))
    parser.add_argument("--name", default="captioner", help="the model")
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("start", help="start the server, and caption a photo with each model")
    starting.add_argument(
        "--models", nargs="+", default=[], metavar="FILE.mar", help="default: what was served before"
    )
    starting.add_argument("--sample", type=Path, required=True, help="the photo")
    captioning = commands.add_parser("caption", help="print the reply for a photo")
    captioning.add_argument("photo", type=Path)
    captioning.add_argument("options", nargs="*", type=option, metavar="NAME=VALUE", help="as num_beams=3")
    captioning.add_argument("--grpc", action="store_true", help="ask over gRPC instead of HTTP")
    token = commands.add_parser("token", help="print the key that clients need")
    token.add_argument("--new", action="store_true", help="another one: the server refuses the one before")
    commands.add_parser("stop", help="let requests finish, and end the server")
    commands.add_parser("check", help="say what would keep a server from starting")
    command_line.add(commands)
    arguments, rest = parser.parse_known_args()
    if rest:  # argparse takes no options NAME=VALUE behind a switch
        if arguments.command != "caption" or any(text.startswith("-") for text in rest):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        try:
            arguments.options += map(option, rest)
        except argparse.ArgumentTypeError as error:
            parser.error(str(error))
    try:
        config = ServerConfig.from_file(arguments.config)
        match arguments.command:
            case "start":
                serve(arguments.config, config, arguments.models, arguments.name, arguments.sample)
            case "caption":
                fields = dict(arguments.options)
                reply = caption(arguments.photo, fields, config, arguments.name, grpc=arguments.grpc)
                print(json.dumps(reply, indent=2, ensure_ascii=False))
            case "token":
                print(inference_key(config, left=inf if arguments.new else KEY_LEFT * config.key_life))
            case "check":
                check(Path.cwd(), config, ())
            case "stop":
                stop(config)
            case _:
                command_line.run(arguments, config)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    except ServingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def serve(config_path: Path, config: ServerConfig, models: list[str], name: str, sample: Path) -> None:
    """Start the server and show that it works: the sample's caption, and how to get the next.

    Served are the archives `models`, else the version of `name` that was served before.
    """
    photo = read(sample)
    root = Path.cwd()
    archives = [Archive.from_file(Path(model)) for model in models] or [last_served(root, name)]
    for archive in archives:
        if outdated(archive.path):
            print(
                f"warning: {archive.path.name} was built from another handler/ or model/: `make archive "
                f"NAME={archive.name}`, with the CHECKPOINT that it was made of, builds it again",
                file=sys.stderr,
            )
    began = time.monotonic()
    start(root, config_path, archives, progress)
    try:
        key = access_key(root, "inference", config.management)
        replies = {one.name: caption_over_http(photo, one.name, config.inference, key) for one in archives}
        for archive in archives:
            if models:
                forget(root, archive.name)
            bring_workers_back(Management(root, config, archive.name, print))
    except BaseException:  # what cannot caption is not left running
        if server := process.find(root):
            process.end(server, root)
        raise
    if not models and archives[0].path.parent == root / process.STORE:
        print(f"{name} {archives[0].version}, which was rolled out")
    print(f"{CLEAR_LINE if sys.stdout.isatty() else ''}ready after {time.monotonic() - began:.1f} s")
    for model, reply in replies.items():
        by = f"{model}: " if len(archives) > 1 else ""
        print(f"{by}{sample}: {reply['caption']} (score {reply['score']:.2f})")
    print()
    print('curl -H "Authorization: Bearer $(make -s token)" \\')
    print(f"     -T photo.jpg {config.inference.url}/predictions/{archives[0].name}")
    print("make caption IMAGE=photo.jpg")
    print("make stop")


def caption(
    photo: Path, fields: dict[str, str], config: ServerConfig, name: str, *, grpc: bool
) -> dict[str, object]:
    """Have the running server caption a photo; returns its reply."""
    data = read(photo)
    key = inference_key(config)
    if grpc:
        return caption_over_grpc(data, name, config.grpc_inference, key, fields)
    return caption_over_http(data, name, config.inference, key, fields)


def inference_key(config: ServerConfig, left: float = 0.0) -> str:
    """Return the key that clients need, valid for `left` s; raises ServingError where there is none."""
    if not Path(KEY_FILE).exists() and process.find(Path.cwd()):
        raise ServingError(
            f"the server runs, but its {KEY_FILE} is gone: `make stop` and `make serve` make another"
        )
    return access_key(Path.cwd(), "inference", config.management, left)


def option(text: str) -> tuple[str, str]:
    """Read NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def stop(config: ServerConfig) -> None:
    """End the server that runs in the working directory, if one does, when it has answered what it was asked.

    New requests get 400 meanwhile, as for an expired key: it is the one way in which TorchServe refuses.
    """
    server = process.find(Path.cwd())
    if server is None:
        print("no server is running")
        return
    try:
        revoke(Path.cwd(), config.management)
    except ServingError as error:
        print(f"new requests are still answered: {error}")
    if not process.drain(lambda: server.children(recursive=True), DRAIN):
        print(f"requests were still at work after {DRAIN} s")
    process.end(server, Path.cwd())
    print("stopped")


def read(photo: Path) -> bytes:
    """Read an encoded photo; raises ServingError with one line."""
    try:
        return photo.read_bytes()
    except OSError as error:
        raise ServingError(f"{photo} cannot be read: {error.strerror}") from None


def progress(seconds: float) -> None:
    """Show on a terminal that something is going on."""
    if sys.stdout.isatty():
        print(f"{CLEAR_LINE}starting TorchServe … {seconds:.0f} s", end="", flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end quietly when `| head` has read enough
    sys.exit(main())
