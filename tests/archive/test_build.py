import json
import shutil
import zipfile
from pathlib import Path

import pytest

from archive.build import CONFIG, build, verify
from archive.errors import ArchiveError
from archive.stage import ROOT


def test_the_archive_holds_what_a_worker_needs_and_no_more(archive: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        names = packed.namelist()
        manifest = json.loads(packed.read("MAR-INF/MANIFEST.json"))
    assert manifest["model"] == {
        "modelName": "tiny",
        "handler": "captioner_handler.py",
        "modelVersion": "1.0",
        "configFile": "model-config.yaml",
    }
    top = {name.split("/")[0] for name in names}
    assert top == {"MAR-INF", "captioner_handler.py", "checkpoint", "handler", "model", "model-config.yaml"}
    assert {Path(name).suffix for name in names} == {".json", ".py", ".yaml", ".safetensors"}
    assert "handler/captioner_handler.py" not in names  # once, at the top


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json"])
def test_an_incomplete_checkpoint_is_refused(checkpoint: Path, tmp_path: Path, missing: str) -> None:
    copy, destination = tmp_path / "copy", tmp_path / "destination"
    shutil.copytree(checkpoint, copy)
    destination.mkdir()
    (copy / missing).unlink()
    with pytest.raises(ArchiveError, match=f"lacks {missing}$"):
        build(copy, "tiny", "1.0", destination)
    assert not list(destination.iterdir())


def test_pickled_weights_are_no_substitute(checkpoint: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint, copy)
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ArchiveError, match=r"lacks model\.safetensors; pickled weights are not packed"):
        build(copy, "tiny", "1.0", tmp_path)


def test_what_does_not_work_does_not_replace_what_does(checkpoint: Path, tmp_path: Path) -> None:
    copy, destination = tmp_path / "copy", tmp_path / "destination"
    shutil.copytree(checkpoint, copy)
    (copy / "model.safetensors").write_bytes(b"\x80\x04 a pickle under another name")
    destination.mkdir()
    (destination / "tiny.mar").write_bytes(b"the one before")
    with pytest.raises(ArchiveError, match=r"the archive does not work: .*not a safetensors file"):
        build(copy, "tiny", "1.0", destination)
    assert [file.name for file in destination.iterdir()] == ["tiny.mar"]
    assert (destination / "tiny.mar").read_bytes() == b"the one before"


def test_a_bad_configuration_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    config = tmp_path / "model-config.yaml"
    config.write_text(CONFIG.read_text().replace("maxWorkers: 1", "maxWorkers: none"))
    with pytest.raises(ArchiveError, match="maxWorkers is 'none'"):
        build(checkpoint, "tiny", "1.0", tmp_path, config=config)


def test_verification_sees_a_package_that_is_missing(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the environment would find it in the repository."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    broken = tmp_path / "broken.mar"
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(broken, "w") as new:
        for name in old.namelist():
            if not name.startswith("model/"):
                new.writestr(name, old.read(name))
    with pytest.raises(ArchiveError, match="No module named 'model'"):
        verify(broken, tmp_path / "extracted")


@pytest.mark.parametrize(("name", "version"), [("a/b", "1.0"), ("", "1.0"), ("tiny", ""), ("tiny", "1 0")])
def test_bad_labels_are_refused(checkpoint: Path, tmp_path: Path, name: str, version: str) -> None:
    with pytest.raises(ArchiveError, match="is no model name or version"):
        build(checkpoint, name, version, tmp_path)
