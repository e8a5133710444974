"""The mean of checkpoints: its weights by hand, its terms inherited; what does not fit is refused."""

from pathlib import Path

import pytest
import torch

from model.captioner import Captioner
from model.checkpoint.folder import load_checkpoint
from tests.tiny import write_tiny_checkpoint
from training.__main__ import main


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder, dtype=torch.float32).model.state_dict()


def test_a_mean_of_three(tmp_path: Path) -> None:
    parts = [write_tiny_checkpoint(tmp_path / str(seed), seed=seed) for seed in range(3)]
    (parts[1] / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# one\n")
    assert main(["average", *map(str, parts), "--out", str(tmp_path / "mean")]) == 0
    given, found = [weights(folder) for folder in parts], weights(tmp_path / "mean")
    assert found.keys() == given[0].keys()
    for name, weight in found.items():
        wanted = torch.stack([one[name] for one in given]).mean(0)
        torch.testing.assert_close(weight, wanted, rtol=2**-10, atol=1e-6)  # it is kept in float16
    assert any(not torch.equal(given[0][name], given[1][name]) for name in found)
    assert "license: cc-by-4.0" in (tmp_path / "mean" / "README.md").read_text()
    captioner = Captioner.from_folder(tmp_path / "mean", dtype=torch.float32)
    photo = captioner.preprocess(Path("examples/dog.jpg").read_bytes())
    assert captioner.caption([photo])[0][0].text


def changed(folder: Path, file: str, old: str, new: str) -> Path:
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    return folder


def test_what_has_no_mean_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = write_tiny_checkpoint(tmp_path / "one")
    darker = changed(write_tiny_checkpoint(tmp_path / "darker"), "preprocessor_config.json", "0.5", "0.4")
    strange = changed(write_tiny_checkpoint(tmp_path / "strange"), "tokenizer.json", '"!"', '"bang"')
    for others, said in (
        ([], "at least two checkpoints"),
        ([darker], "darker has other dimensions than"),
        ([strange], "strange has another vocabulary than"),
        ([tmp_path / "nowhere"], "nowhere"),
    ):
        assert main(["average", str(one), *map(str, others), "--out", str(tmp_path / "mean")]) == 1
        assert said in caplog.messages[-1]
        assert not (tmp_path / "mean").exists()
    assert main(["average", str(one), str(one), "--out", str(one)]) == 1
    assert "exists already" in caplog.messages[-1]
