import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from archive.errors import ArchiveError
from archive.read import extract, open_archive
from tests.tiny import photo, write_tiny_checkpoint

CONFIG = "maxWorkers: 1\ncaptioner: {dtype: bfloat16, max_pixels: 9, options: {num_beams: 2}}\n"


def pack(path: Path, files: dict[str, bytes | str], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def pack_checkpoint(path: Path, checkpoint: Path, config: str = CONFIG) -> Path:
    """An archive as `make archive` builds it, but for handler and engine."""
    files: dict[str, bytes | str] = {
        f"checkpoint/{file.name}": file.read_bytes() for file in sorted(checkpoint.iterdir())
    }
    code = "raise SystemExit('this is run')"
    return pack(path, {"captioner_handler.py": code, "model-config.yaml": config, **files})


def test_it_is_loaded_as_it_is_served(tmp_path: Path) -> None:
    archive = pack_checkpoint(tmp_path / "a.mar", write_tiny_checkpoint(tmp_path / "checkpoint"))
    with open_archive(archive) as (captioner, options):
        assert {weight.dtype for weight in captioner.model.parameters()} == {torch.bfloat16}
        assert captioner.max_pixels == 9
        assert options == captioner.options.replace(num_beams=2) != captioner.options
        assert not captioner.model.training
    with open_archive(pack_checkpoint(archive, tmp_path / "checkpoint", "maxWorkers: 1")) as (captioner, _):
        assert captioner.caption([captioner.preprocess(photo(1))])[0][0].text


def test_only_checkpoint_and_configuration_are_taken_out(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.mar", {"model.py": "x", "checkpoint/a": "y", "model-config.yaml": "z"})
    (tmp_path / "out").mkdir()
    extract(archive, tmp_path / "out")
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*")}
    assert found == {"checkpoint", "checkpoint/a", "model-config.yaml"}


@pytest.mark.parametrize(
    "name", ["checkpoint/../../evil", "/etc/evil", "../evil", "checkpoint/..\\..\\evil", "C:evil"]
)
def test_a_name_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    archive = pack(tmp_path / "a.mar", {"checkpoint/config.json": "{}", name: "evil"})
    (tmp_path / "inner" / "out").mkdir(parents=True)
    with pytest.raises(ArchiveError, match="not safe: it names"):
        extract(archive, tmp_path / "inner" / "out")
    assert not list((tmp_path / "inner").rglob("*evil*"))
    assert not list((tmp_path / "inner" / "out").iterdir())


def test_a_bomb_is_refused_unopened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, bytes | str] = {"checkpoint/model.safetensors": bytes(10**6)}
    bomb = pack(tmp_path / "a.mar", files, zipfile.ZIP_DEFLATED)
    (tmp_path / "out").mkdir()
    with pytest.raises(ArchiveError, match="more than 20 times its size"):
        extract(bomb, tmp_path / "out")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=999_999))
    with pytest.raises(ArchiveError, match=r"needs 1 MB in .*, where 1 are left"):
        extract(pack(tmp_path / "b.mar", files), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "is no archive that can be read"),
        ({"model-config.yaml": CONFIG}, "holds no checkpoint/"),
        ({"checkpoint/config.json": "{}"}, r"model-config\.yaml cannot be used: .*No such file"),
        ({"checkpoint/config.json": "{}", "model-config.yaml": "[}"}, r"model-config\.yaml cannot be used"),
        ({"checkpoint/config.json": "{}", "model-config.yaml": "- 1"}, r"model-config\.yaml cannot be used"),
        ({"checkpoint/config.json": "{}", "model-config.yaml": "maxWorkers: 0"}, "maxWorkers is 0"),
    ],
)
def test_what_is_no_captioner_is_refused(
    tmp_path: Path, files: dict[str, bytes | str] | None, message: str
) -> None:
    path = tmp_path / "a.mar"
    if files is None:
        path.write_bytes(b"PK\x03\x04 no zip")
    else:
        pack(path, files)
    with pytest.raises(ArchiveError, match=message), open_archive(path):
        pass
