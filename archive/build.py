"""Stage → torch-model-archiver → normalise → verify → publish.

The same input gives the same bytes: entries are sorted and stored uncompressed, and
every date is fixed. Nothing appears under the final name until it has captioned a picture.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from archive.errors import ArchiveError
from archive.origin import Origin
from archive.stage import WEIGHTS, stage
from archive.worker_code import ENTRY, ROOT, code_files

CONFIG = Path(__file__).with_name("model-config.yaml")
MANIFEST = "MAR-INF/MANIFEST.json"
CHUNK = 1 << 20  # bytes copied at a time
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip file can hold
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
FILE = re.compile(rf"{LABEL.pattern}\.mar")
EXCEPTION = re.compile(r"[\w.]+(Error|Exception): ")  # the telling line of a traceback
VERIFY = Path(__file__).with_name("verify.py")


def build(
    origin: Origin,
    name: str,
    version: str,
    destination: Path,
    *,
    file: str | None = None,
    config: Path = CONFIG,
) -> Path:
    """Build `destination/file`, by default `name.mar`, from a checkpoint and return its path.

    `config` is the model-config.yaml that goes in. Raises ArchiveError, or OSError for a file that cannot be
    read or written, and then leaves `destination` as it was.
    """
    for label in (name, version):
        if not LABEL.fullmatch(label):
            raise ArchiveError(
                f"{label!r} is no model name or version: letters, digits, '.', '_' and '-' make one"
            )
    file = file or f"{name}.mar"
    if not FILE.fullmatch(file):
        raise ArchiveError(f"{file!r} is no name of an archive: NAME.mar is one, without a folder")
    if not config.is_file():
        raise ArchiveError(f"{config} does not exist")
    try:
        aside = tempfile.TemporaryDirectory(prefix=".archive-", dir=destination)
    except OSError as error:
        raise ArchiveError(f"{destination} cannot be written to: {error.strerror}") from None
    with aside as scratch:
        staged = Path(scratch, "staged")
        staged.mkdir()
        stage(origin.folder, staged)
        raw = run_archiver(staged, config, name, version, Path(scratch))
        ready = Path(scratch, "ready.mar")
        normalise(raw, ready, origin.notes(staged / "checkpoint" / WEIGHTS))
        verify(ready, Path(scratch, "extracted"))
        return ready.replace(destination / file)


def run_archiver(staged: Path, config: Path, name: str, version: str, scratch: Path) -> Path:
    """Pack the staged files; returns the archive as torch-model-archiver left it."""
    command = [sys.executable, "-m", "model_archiver.model_packaging"]
    command += ["--model-name", name, "--version", version, "--archive-format", "zip-store"]
    command += ["--handler", str(code_files()[ENTRY]), "--config-file", str(config.resolve())]
    # The archiver empties $TMPDIR/<name> first: in a private TMPDIR, two builds cannot collide.
    private, packed = scratch / "tmp", scratch / "packed"
    private.mkdir()
    packed.mkdir()
    command += ["--extra-files", str(staged), "--export-path", str(packed)]
    _run(command, "torch-model-archiver failed", TMPDIR=str(private))
    return packed / f"{name}.mar"


def normalise(source: Path, target: Path, notes: Mapping[str, object]) -> None:
    """Rewrite a zip file so that its bytes depend on names and contents alone.

    `notes` are added to the manifest.
    """
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in sorted(old.namelist()):
            entry = zipfile.ZipInfo(name, date_time=EPOCH)
            entry.create_system = 3  # Unix, so that the next line is a file mode
            entry.external_attr = 0o644 << 16
            if name == MANIFEST:
                manifest = json.loads(old.read(name)) | {"createdOn": "01/01/1980 00:00:00"} | notes
                new.writestr(entry, json.dumps(manifest, indent=2))
                continue
            # Weights may be larger than memory, and than what a zip entry holds by default.
            with old.open(name) as content, new.open(entry, "w", force_zip64=True) as copy:
                shutil.copyfileobj(content, copy, CHUNK)


def verify(archive: Path, folder: Path) -> None:
    """Extract an archive into `folder` and caption a picture with it in a clean process."""
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)
    # -I: neither the working directory nor the environment adds to what can be imported.
    _run([sys.executable, "-I", str(VERIFY), str(folder)], "the archive does not work", cwd=folder)


def _run(command: list[str], failure: str, cwd: Path = ROOT, **variables: str) -> None:
    """Run a Python program to its end; raises ArchiveError with the exception that it ended with."""
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines() or [f"exit code {done.returncode}"]
        exceptions = [line for line in lines if EXCEPTION.match(line)]
        raise ArchiveError(f"{failure}: {(exceptions or lines)[-1]}")
