"""`python -m model explain`: files that are complete or not there, and one line for what went wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.__main__ import main
from model.captioner import Captioner
from model.explain import files
from model.explain.explainer import Explainer
from tests.tiny import photo


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A photo that EXIF says has to be turned."""
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    path.write_bytes(photo(1))
    Image.open(path).save(path, "JPEG", exif=exif)
    return path


def test_a_found_caption_becomes_files(
    picture: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "out"
    assert main(["explain", str(picture), "--out", str(out), "--checkpoint", str(tiny_folder)]) == 0
    line, _ = capsys.readouterr()
    captioner = Captioner.from_folder(tiny_folder)
    pixels = captioner.preprocess(picture.read_bytes())
    ((caption, *_),) = captioner.caption([pixels], captioner.options.replace(num_captions=1))
    assert line == f"{picture}\t{caption.score:.3f}\t{caption.text}\n"
    found = Explainer(captioner).explain(pixels, caption)
    values = json.loads((out / "values.json").read_text(encoding="utf-8"))
    assert values == {"caption": caption.text} | found.to_dict((40, 48))  # upright
    names = sorted(path.name for path in out.iterdir())
    assert len(names) == 2 + len(found.heatmaps)
    assert names[:2] == ["grid.png", "values.json"]
    for name in names[2:]:
        assert np.asarray(Image.open(out / name)).shape == (224, 187, 3)
    assert sorted(path.name for path in out.parent.iterdir()) == ["out"]


@pytest.mark.parametrize("method", ["attention", "integrated_gradients"])
def test_a_caption_of_ones_own(picture: Path, tiny_folder: Path, tmp_path: Path, method: str) -> None:
    out = tmp_path / "out"
    out.mkdir()  # empty is as good as new
    arguments = [str(picture), "--out", str(out), "--checkpoint", str(tiny_folder)]
    assert main(["explain", *arguments, "--method", method, "--caption", "a Dog/cat"]) == 0
    values = json.loads((out / "values.json").read_text(encoding="utf-8"))
    assert (values["caption"], values["method"]) == ("a Dog/cat", method)
    pictures = sorted(path.name for path in out.glob("word-*"))
    assert pictures == ["word-01-a.png", "word-02-Dog_cat.png"]


def test_what_cannot_be_done_is_one_line_and_leaves_nothing(
    picture: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine", encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    out = str(tmp_path / "new")
    for arguments, said in [
        ([str(picture), "--out", str(full)], "holds something: name a new or an empty folder"),
        ([str(picture), "--out", str(picture)], "holds something: name a new or an empty folder"),
        (["no.jpg", "--out", out], "no.jpg: No such file or directory"),
        ([str(full / "mine.txt"), "--out", out], "the data is no photo that can be decoded"),
        ([str(picture), "--out", out, "--caption", "?"], "caption: holds no word that the model knows"),
        ([str(picture), "--out", out, "--beams", "0"], "num_beams: 0 is not"),
    ]:
        assert main(["explain", *arguments, "--checkpoint", str(tiny_folder)]) == 1
        text, error = capsys.readouterr()
        assert text == ""
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert said in error
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_is_never_seen_half_written(tmp_path: Path) -> None:
    def interrupted() -> None:
        with files.new_folder(tmp_path / "out") as folder:
            (folder / "grid.png").write_bytes(b"half")
            assert not (tmp_path / "out").exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
