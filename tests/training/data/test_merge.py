"""Several data folders as one: photos, captions and splits are those of the parts."""

import json
from pathlib import Path

import pytest

from model.image import ImageConfig
from tests.training.tiny_data import CAPTIONS, write_data
from training.__main__ import main
from training.data.captions import read_captions
from training.data.folder import load_data
from training.data.merge import is_kept_out, merge
from training.errors import DataError


def parts(tmp_path: Path, second: int = 40) -> list[Path]:
    """A folder with train and dev, and one without dev."""
    one = write_data(tmp_path / "one")
    two = write_data(tmp_path / "two", [[f"caption {index}", "another"] for index in range(second)])
    (two / "captions_dev.json").unlink()
    return [one, two]


def test_a_folder_without_dev_keeps_a_fifth_out(tmp_path: Path) -> None:
    merge(parts(tmp_path), tmp_path / "both")
    train, dev, kept = (read_captions(tmp_path / "both", split) for split in ("train", "dev", "two"))
    assert dev.names == tuple(f"one/{index}.png" for index in range(4))
    assert dev.captions == tuple((caption,) for caption in CAPTIONS)
    names = {f"two/{index}.png" for index in range(40)}
    assert set(kept.names) == {name for name in names if is_kept_out(name)}
    assert set(train.names) == {*dev.names, *names} - set(kept.names)
    assert 2 <= len(kept.names) <= 16
    captions = dict(zip(train.names, train.captions, strict=True))
    assert captions["one/2.png"] == (CAPTIONS[2],)
    (some, *_) = (name for name in captions if name.startswith("two/"))
    assert captions[some] == (f"caption {Path(some).stem}", "another")


def test_about_a_fifth_is_kept_out_and_never_another() -> None:
    names = [f"coco/{index}.jpg" for index in range(5000)]
    kept = [name for name in names if is_kept_out(name)]
    assert 900 < len(kept) < 1100
    assert [name for name in names if is_kept_out(name)] == kept


def test_photos_are_those_of_the_parts(tmp_path: Path) -> None:
    one, two = parts(tmp_path)
    merge([one, two], tmp_path / "both")
    image = ImageConfig(size=(32, 32))
    _, alone = load_data(one, image, tmp_path / "cache").train
    captions, photos = load_data(tmp_path / "both", image, tmp_path / "cache").train
    assert captions.names[:4] == tuple(f"one/{index}.png" for index in range(4))
    assert (photos[:4] == alone).all()


def test_ids_are_unique(tmp_path: Path) -> None:
    merge(parts(tmp_path), tmp_path / "both")
    content = json.loads((tmp_path / "both" / "captions_train.json").read_text())
    for kind in ("images", "annotations"):
        ids = [entry["id"] for entry in content[kind]]
        assert len(set(ids)) == len(ids)


def test_what_cannot_be_merged_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, two = parts(tmp_path)
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match="need names of their own: one, one"):
        merge([one, write_data(tmp_path / "other" / "one")], tmp_path / "both")
    with pytest.raises(DataError, match="exists already"):
        merge([one, two], tmp_path / "other")
    assert main(["merge", str(one), str(tmp_path / "nowhere"), "--out", str(tmp_path / "both")]) == 1
    assert "nowhere is not a folder" in caplog.messages[-1]
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize("name", ["train", "dev"])
def test_what_a_folder_keeps_out_is_no_other_split(name: str, tmp_path: Path) -> None:
    """Its photos would be trained on after all, or measured as another folder's dev."""
    one, two = parts(tmp_path)
    bad = two.rename(tmp_path / name)
    with pytest.raises(DataError, match=f"{name}: a folder without dev needs another name"):
        merge([one, bad], tmp_path / "both")
    assert not (tmp_path / "both").exists()
    (tmp_path / "fine").mkdir()
    merge([one.rename(tmp_path / "fine" / name)], tmp_path / "both")
    assert read_captions(tmp_path / "both", "dev").names == tuple(f"{name}/{index}.png" for index in range(4))
