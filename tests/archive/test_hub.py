"""Repositories of a hub, which a server on this machine stands in for."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive.worker_code import ROOT
from tests.hub import COMMIT, run_python, serve

PROGRAM = """
import sys
from archive.errors import ArchiveError
from archive.origin import Origin
try:
    origin = Origin.of(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
except ArchiveError as error:
    sys.exit(f"error: {error}")
print(origin.source, origin.card.licence, *sorted(path.name for path in origin.folder.iterdir()))
"""


@pytest.fixture
def hub(checkpoint: Path) -> Iterator[str]:
    """The address of a hub with one repository, which holds its weights in two forms."""
    files = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    files |= {
        "README.md": b"---\nlicense: mit\n---\n",
        "pytorch_model.bin": b"not wanted",
        "tf_model.h5": b"no",
    }
    with serve(files) as address:
        yield address


def find(home: Path, endpoint: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return run_python(home, endpoint, "-c", PROGRAM, *arguments, **more)


def test_a_repository_is_fetched_and_serves_again_without_the_hub(hub: str, tmp_path: Path) -> None:
    fetched = find(tmp_path, hub, "owner/tiny")
    assert fetched.returncode == 0, fetched.stderr
    source, licence, *names = fetched.stdout.split()
    assert (source, licence) == (f"owner/tiny@{COMMIT}", "mit")
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= set(names)
    assert not {"pytorch_model.bin", "tf_model.h5"} & set(names)  # one form of the weights is enough
    for environment in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        again = find(tmp_path, hub, "owner/tiny", **environment)
        assert again.stdout == fetched.stdout, again.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["owner/none"], "owner/none is neither a folder here nor a repository that this token may read"),
        (["owner/gated"], "owner/gated needs a token: set HF_TOKEN"),
        (["owner/tiny", "nowhere"], "owner/tiny has no revision 'nowhere'"),
        (["no-such-folder"], "no-such-folder is neither a folder nor an OWNER/NAME"),
        (["../nowhere"], "../nowhere is neither a folder nor an OWNER/NAME"),
        (["./nowhere"], "./nowhere is neither a folder nor an OWNER/NAME"),
        (["owner/no--name"], "owner/no--name is neither a folder nor an OWNER/NAME"),
        (["model", "main"], "model is a folder: a revision (main) is for the hub's repositories"),
    ],
)
def test_what_cannot_be_had_is_said_in_one_line(
    arguments: list[str], said: str, hub: str, tmp_path: Path
) -> None:
    done = find(tmp_path, hub, *arguments)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: {said}")


def test_what_the_hub_is_read_with_is_a_requirement_of_its_own() -> None:
    own, _ = (ROOT / "requirements.txt").read_text().split("# what these bring along")
    tree = ast.parse((ROOT / "archive" / "hub.py").read_text())
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    packages = {str(module).partition(".")[0] for module in modules}
    foreign = packages - sys.stdlib_module_names - {"archive"}
    assert foreign == {"huggingface_hub", "httpx2"}
    assert all(f"\n{package}==" in own for package in foreign)


def test_no_hub_and_no_cache(tmp_path: Path) -> None:
    done = find(tmp_path, "http://127.0.0.1:9", "owner/tiny")
    assert done.returncode == 1
    expected = "error: owner/tiny is not in the cache, and the hub cannot be reached"
    assert done.stderr.splitlines()[-1] == expected
