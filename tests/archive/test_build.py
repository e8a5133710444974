import hashlib
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors.torch import load, load_file

from archive.build import CONFIG, build, verify
from archive.card import Card
from archive.errors import ArchiveError
from archive.origin import Origin
from archive.worker_code import ROOT
from model.checkpoint.folder import load_checkpoint, save_checkpoint
from model.network.caption_model import CaptionModel


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
    assert {"handler/parse/request.py", "model/explain/explainer.py"} <= set(names)  # folders in folders


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("config.json", r"lacks config\.json$"),
        ("preprocessor_config.json", r"lacks preprocessor_config\.json$"),
        ("model.safetensors", "holds no weights: one of model.safetensors, pytorch_model.bin"),
        ("tokenizer.json", "holds no tokenizer; known forms are tokenizer.json"),
    ],
)
def test_an_incomplete_checkpoint_is_refused(
    checkpoint: Path, tmp_path: Path, missing: str, said: str
) -> None:
    copy, destination = tmp_path / "copy", tmp_path / "destination"
    shutil.copytree(checkpoint, copy)
    destination.mkdir()
    (copy / missing).unlink()
    with pytest.raises(ArchiveError, match=said):
        build(Origin.of_folder(copy), "tiny", "1.0", destination)
    assert not list(destination.iterdir())


def test_pickled_weights_are_packed_as_safetensors(checkpoint: Path, archive: Path, tmp_path: Path) -> None:
    copy = tmp_path / "pickled"
    shutil.copytree(checkpoint, copy)
    weights = load_file(copy / "model.safetensors")
    weights["decoder.lm_head.weight"] = weights["decoder.transformer.wte.weight"]  # in the same memory
    torch.save(weights, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with zipfile.ZipFile(build(Origin.of_folder(copy), "pickled", "1.0", tmp_path)) as packed:
        names = packed.namelist()
        stored = load(packed.read("checkpoint/model.safetensors"))
    assert not [name for name in names if name.endswith(".bin")]
    assert stored.keys() == weights.keys()
    assert all(torch.equal(stored[name], weight) for name, weight in weights.items())


def test_a_dinov2_is_packed_with_photos_smaller_than_its_config_says(
    checkpoint: Path, tmp_path: Path
) -> None:
    tiny = load_checkpoint(checkpoint)
    encoder = replace(tiny.model.config.encoder, layer_scale=True, image_size=64)
    model = CaptionModel(replace(tiny.model.config, encoder=encoder))
    save_checkpoint(tmp_path / "dinov2", replace(tiny, model=model))
    assert tiny.image.size == (32, 32)
    assert build(Origin.of_folder(tmp_path / "dinov2"), "dinov2", "1.0", tmp_path).is_file()


CARD = """---
license: other
license_name: only-for-looking
---
# Looker

## Licence limits

For **looking** only.

### Why

The data say so.

## Data

Nine photos – of cafés.

## Recipe

```sh
# no heading, and no end of the section
make train
```

## Scores

None.
"""


def test_the_manifest_says_where_the_weights_are_from(checkpoint: Path, tmp_path: Path) -> None:
    copy = tmp_path / "my-captioner"
    shutil.copytree(checkpoint, copy)
    (copy / "README.md").write_text(CARD, encoding="utf-8")
    with zipfile.ZipFile(build(Origin.of_folder(copy), "tiny", "1.0", tmp_path)) as packed:
        manifest = json.loads(packed.read("MAR-INF/MANIFEST.json"))
        packed_digest = hashlib.sha256(packed.read("checkpoint/model.safetensors")).hexdigest()
    assert (manifest["source"], manifest["license"]) == ("local folder", "only-for-looking")
    assert manifest["provenance"] == {
        "weights_sha256": packed_digest,
        "checkpoint": "Looker",
        "licence_note": "For **looking** only.\n\n### Why\n\nThe data say so.",
        "data": "Nine photos – of cafés.",
        "recipe": "```sh\n# no heading, and no end of the section\nmake train\n```",
    }


def test_what_no_card_says_is_left_out(checkpoint: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        manifest = json.loads(packed.read("MAR-INF/MANIFEST.json"))
    digest = hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
    assert manifest["license"] == "not stated"
    assert manifest["provenance"] == {"weights_sha256": digest}


def test_a_checkpoint_of_the_hub_is_named_as_it_is_there(checkpoint: Path) -> None:
    notes = Origin(checkpoint, "owner/tiny@abc", Card(name="A title")).notes(checkpoint / "config.json")
    assert notes["source"] == "owner/tiny@abc"
    assert cast(dict[str, str], notes["provenance"])["checkpoint"] == "owner/tiny"


def test_what_does_not_work_does_not_replace_what_does(checkpoint: Path, tmp_path: Path) -> None:
    copy, destination = tmp_path / "copy", tmp_path / "destination"
    shutil.copytree(checkpoint, copy)
    (copy / "model.safetensors").write_bytes(b"\x80\x04 a pickle under another name")
    destination.mkdir()
    (destination / "tiny.mar").write_bytes(b"the one before")
    with pytest.raises(ArchiveError, match=r"the archive does not work: .*not a safetensors file"):
        build(Origin.of_folder(copy), "tiny", "1.0", destination)
    assert [file.name for file in destination.iterdir()] == ["tiny.mar"]
    assert (destination / "tiny.mar").read_bytes() == b"the one before"


def test_a_bad_configuration_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    config = tmp_path / "model-config.yaml"
    config.write_text(CONFIG.read_text().replace("maxWorkers: 1", "maxWorkers: none"))
    with pytest.raises(ArchiveError, match="maxWorkers is 'none'"):
        build(Origin.of_folder(checkpoint), "tiny", "1.0", tmp_path, config=config)


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
        build(Origin.of_folder(checkpoint), name, version, tmp_path)
