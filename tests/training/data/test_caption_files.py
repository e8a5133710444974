import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from model.image import ImageConfig
from tests.training.tiny_data import CAPTIONS, write_data
from training.data.captions import has_split, read_captions, split_of
from training.data.folder import load_data
from training.errors import DataError

IMAGE = ImageConfig(size=(32, 32))


def write_csv(folder: Path, lines: list[str]) -> Path:
    write_data(folder)
    for split in ("train", "dev"):
        (folder / f"captions_{split}.json").unlink()
    (folder / "captions_train.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_a_coco_file_is_what_pycocotools_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_data(tmp_path / "data", [["A dog .", "A cat ."], ["A bird ."]])
    reference = COCO(str(folder / "captions_train.json"))
    found = read_captions(folder, "train")
    for photo, name, captions in zip(found.ids, found.names, found.captions, strict=True):
        assert reference.imgs[photo]["file_name"] == name
        assert [annotation["caption"] for annotation in reference.imgToAnns[photo]] == list(captions)


def test_a_table_groups_the_captions_of_a_photo(tmp_path: Path) -> None:
    lines = ["caption,image,note", "A dog .,0.png,x", '"Birds, two",1.png,', "A red dog .,0.png,"]
    found = read_captions(write_csv(tmp_path / "data", lines), "train")
    assert found.names == ("0.png", "1.png")
    assert found.captions == (("A dog .", "A red dog ."), ("Birds, two",))
    assert found.images == tmp_path / "data" / "images"


def test_photos_may_lie_beside_the_table(tmp_path: Path) -> None:
    folder = write_csv(tmp_path / "data", ["image,caption", "0.png,A dog", "sub/1.png,A bird"])
    (folder / "sub").mkdir()
    (folder / "images" / "0.png").rename(folder / "0.png")
    (folder / "images" / "1.png").rename(folder / "sub" / "1.png")
    assert read_captions(folder, "train").images == folder
    folder = write_csv(tmp_path / "other", ["image,caption", "images/0.png,A dog"])
    assert read_captions(folder, "train").names == ("images/0.png",)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["photo,caption", "0.png,A dog"],
            "column image is missing in the first line, which has photo, caption",
        ),
        (["image;caption", "0.png;A dog"], "which has 'image;caption': commas are needed between columns"),
        (
            ["image\tcaption", "0.png\tA dog"],
            r"which has 'image\\tcaption': commas are needed between columns",
        ),
        ([""], "in the first line, which is empty"),
        (["image,caption", "0.png,"], "line 2: caption is empty"),
        (["image,caption", "0.png,\u00a0"], "line 2: caption is empty"),
        (["image,caption", ",A dog"], "line 2: image is empty"),
        (["image,caption", f"{'A dog ' * 60},0.png"], "photo A dog .* is not in"),
        (["image,caption", "../data/images/0.png,A dog"], r"photo \.\./data.* is a path that leads out of"),
        (["image,caption", "/etc/hostname,A dog"], "photo /etc/hostname is a path that leads out of"),
        (["image,caption", "9.png,A dog"], "photo 9.png is not in"),
        (["image,caption", '0.png,"A dog'], "captions_train.csv cannot be read"),
    ],
)
def test_faults_of_a_table_are_named(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_captions(write_csv(tmp_path / "data", lines), "train")


def test_karpathys_file_names_the_splits(tmp_path: Path) -> None:
    folder = write_data(tmp_path / "data")
    for split in ("train", "dev"):
        (folder / f"captions_{split}.json").unlink()
    splits = ["train", "val", "restval", "test"]
    images = [
        {"imgid": 5 + index, "filename": f"{index}.png", "split": split, "sentences": [{"raw": caption}]}
        for index, (split, caption) in enumerate(zip(splits, CAPTIONS, strict=True))
    ]
    (folder / "dataset_mine.json").write_text(json.dumps({"images": images}))
    assert read_captions(folder, "train").ids == (5, 7)
    assert read_captions(folder, "dev").captions == ((CAPTIONS[1],),)
    assert read_captions(folder, "test").names == ("3.png",)
    images[0]["split"] = "training"
    (folder / "dataset_mine.json").write_text(json.dumps({"images": images}))
    with pytest.raises(DataError, match=r"images\[0\].split is 'training': one of train, restval, val, test"):
        read_captions(folder, "dev")


def test_a_photo_that_karpathys_file_has_twice_is_named(tmp_path: Path) -> None:
    folder = write_csv(tmp_path / "data", ["image,caption"])
    (folder / "captions_train.csv").unlink()
    entry = {"filename": "0.png", "sentences": [{"raw": "A dog"}]}
    images = [entry | {"split": "train"}, entry | {"split": "val"}]
    (folder / "dataset.json").write_text(json.dumps({"images": images}))
    with pytest.raises(DataError, match=r"images\[1\].filename is 0.png, which another image has, too"):
        load_data(folder, IMAGE, tmp_path / "cache")


def test_one_file_is_divided_by_the_names_of_its_photos(tmp_path: Path) -> None:
    folder = write_data(tmp_path / "data", [[f"Photo {index}"] for index in range(40)])
    (folder / "captions_train.json").rename(folder / "captions.json")
    (folder / "captions_dev.json").unlink()
    parts = {split: read_captions(folder, split).names for split in ("train", "dev")}
    assert sorted(parts["train"] + parts["dev"]) == sorted(f"{index}.png" for index in range(40))
    assert all(split_of(name) == split for split, names in parts.items() for name in names)
    assert not has_split(folder, "test")
    share = sum(split_of(f"{index}.jpg") == "dev" for index in range(5000)) / 5000
    assert share == pytest.approx(0.1, abs=0.02)


def test_all_that_is_wrong_comes_up_in_one_run(tmp_path: Path) -> None:
    """Every kind of fault at once, in both splits, with a count where there are many."""
    folder = write_data(tmp_path / "data", [[f"Photo {index}"] for index in range(12)])
    path = folder / "captions_train.json"
    raw = json.loads(path.read_text())
    for annotation in raw["annotations"][:8]:
        annotation["caption"] = " . "
    raw["annotations"][8]["image_id"] = 99
    raw["images"][10]["file_name"] = "gone.png"
    raw["images"].append({"id": 21, "file_name": "new.png"})
    raw["annotations"][9]["id"] = 8
    path.write_text(json.dumps(raw))
    (folder / "images" / "9.png").write_bytes(b"no photo")
    other = json.loads((folder / "captions_dev.json").read_text())
    other["annotations"][3].pop("caption")
    (folder / "captions_dev.json").write_text(json.dumps(other))

    with pytest.raises(DataError) as error:
        load_data(folder, IMAGE, tmp_path / "cache")
    first, *lines = [line.strip() for line in str(error.value).splitlines()]
    assert first == "the data has 14 problems:"
    expected = [
        *(f"{path}: annotations[{index}].caption is empty" for index in range(5)),
        "… and 3 more: empty captions (8 in all)",
        f"{path}: images[12].id is 21, which another image has, too",
        f"{path}: annotations[9].id is 8, which another annotation has, too",
        f"{path}: annotations[8].image_id is 99, which no entry of images has",
        f"{path}: photo gone.png is not in {folder / 'images'}",
        f"{folder / 'captions_dev.json'}: annotations[3].caption is missing or no str",
    ]
    assert set(expected) <= set(lines)
    (unreadable,) = set(lines) - set(expected)
    assert unreadable.startswith(f"{folder / 'images' / '9.png'}: the data is no photo")
    assert not (tmp_path / "cache").exists()


def test_all_unreadable_photos_are_named(tmp_path: Path) -> None:
    folder = write_data(tmp_path / "data")
    for index in (1, 3):
        (folder / "images" / f"{index}.png").write_bytes(b"no photo")
    with pytest.raises(DataError, match=r"2 problems:\n.*1\.png: the data is no.*\n.*3\.png: the data is no"):
        load_data(folder, IMAGE, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.npy")) + list((tmp_path / "cache").glob("*.aside"))


def test_unreadable_photos_of_both_splits_are_named(tmp_path: Path) -> None:
    folder = write_data(tmp_path / "data")
    for split, left in (("train", slice(0, 3)), ("dev", slice(3, 4))):
        path = folder / f"captions_{split}.json"
        raw = json.loads(path.read_text())
        path.write_text(json.dumps({name: entries[left] for name, entries in raw.items()}))
    for index in (1, 3):
        (folder / "images" / f"{index}.png").write_bytes(b"no photo")
    with pytest.raises(DataError, match=r"1\.png: the data is no photo.*\n.*3\.png: the data is no photo"):
        load_data(folder, IMAGE, tmp_path / "cache")


def test_decoded_photos_are_kept_and_follow_their_files(tmp_path: Path) -> None:
    folder = write_data(tmp_path / "data")
    captions, photos = load_data(folder, IMAGE, tmp_path / "cache").train
    (kept,) = (tmp_path / "cache").glob("*.npy")
    with Image.open(folder / "images" / captions.names[2]) as photo:
        assert np.array_equal(photos[2], np.asarray(photo))
    stamp = kept.stat().st_mtime_ns
    load_data(folder, IMAGE, tmp_path / "cache")
    assert kept.stat().st_mtime_ns == stamp
    Image.new("RGB", (40, 40), "white").save(folder / "images" / "2.png")
    assert load_data(folder, IMAGE, tmp_path / "cache").train[1][2].min() == 255
    os.utime(folder / "images" / "1.png", ns=(0, 0))  # as long as before, and written anew
    before = set((tmp_path / "cache").glob("*.npy"))
    load_data(folder, IMAGE, tmp_path / "cache")
    assert set((tmp_path / "cache").glob("*.npy")) > before


def test_a_disk_without_room_for_the_photos_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_data(tmp_path / "data")
    needed = 4 * 32 * 32 * 3
    free = SimpleNamespace(free=needed - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    with pytest.raises(DataError, match=r"decoded photos need 0 MB in .*cache, where 0 are left"):
        load_data(folder, IMAGE, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.npy")) + list((tmp_path / "cache").glob("*.aside"))
    free.free = needed
    assert len(load_data(folder, IMAGE, tmp_path / "cache").train[1]) == 4
