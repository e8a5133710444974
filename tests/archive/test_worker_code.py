"""An archive with other code than is here is served all the same, and one line says so."""

import zipfile
from pathlib import Path
from typing import Never

import pytest

from archive.worker_code import ROOT, outdated
from serving import __main__ as command
from serving.errors import ServingError


@pytest.fixture
def packed() -> dict[str, bytes]:
    """What the handler's part of an archive holds that was built just now."""
    files = [*(ROOT / "handler").rglob("*.py"), *(ROOT / "model").rglob("*.py")]
    names = [str(file.relative_to(ROOT)) for file in files]
    content = {name: file.read_bytes() for name, file in zip(names, files, strict=True)}
    content["captioner_handler.py"] = content.pop("handler/captioner_handler.py")
    return content | {"checkpoint/README.md": b"a card", "MAR-INF/MANIFEST.json": b"{}"}


def write(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def manifest(name: str) -> dict[str, bytes]:
    return {"MAR-INF/MANIFEST.json": b'{"model": {"modelName": "%s", "modelVersion": "1.0"}}' % name.encode()}


def test_an_archive_of_what_is_here_is_not_outdated(archive: Path) -> None:
    assert not outdated(archive)


@pytest.mark.parametrize("name", ["captioner_handler.py", "model/search/beam.py", "model/explain/render.py"])
def test_any_other_code_is_seen(tmp_path: Path, packed: dict[str, bytes], name: str) -> None:
    assert not outdated(write(tmp_path / "same.mar", packed))
    assert outdated(write(tmp_path / "other.mar", packed | {name: b"# as it was"}))
    assert outdated(write(tmp_path / "more.mar", packed | {"model/gone.py": b""}))
    del packed[name]
    assert outdated(write(tmp_path / "less.mar", packed)) is (name != "captioner_handler.py")


def test_what_is_no_archive_of_this_project_is_not_judged(tmp_path: Path) -> None:
    assert not outdated(write(tmp_path / "foreign.mar", {"their_handler.py": b"", "model/net.py": b""}))
    assert not outdated(tmp_path / "missing.mar")
    (tmp_path / "broken.mar").write_bytes(b"no zip file")
    assert not outdated(tmp_path / "broken.mar")


def test_serving_one_warns_in_a_line_and_leaves_it_as_it_is(
    tmp_path: Path,
    packed: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(*_: object) -> Never:
        raise ServingError("no server in this test")

    (tmp_path / "config.properties").write_text((ROOT / "config.properties").read_text())
    write(tmp_path / "new.mar", packed | manifest("new"))
    old = write(tmp_path / "old.mar", packed | manifest("old") | {"model/search/beam.py": b"# as it was"})
    before = old.read_bytes()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "start", stop)
    sample = str(ROOT / "examples" / "dog.jpg")
    monkeypatch.setattr(
        "sys.argv", ["serving", "start", "--models", "new.mar", "old.mar", "--sample", sample]
    )
    assert command.main() == 1
    warning, error = capsys.readouterr().err.splitlines()
    assert warning.startswith(
        "warning: old.mar was built from another handler/ or model/: `make archive NAME=old"
    )
    assert error == "error: no server in this test"
    assert old.read_bytes() == before
