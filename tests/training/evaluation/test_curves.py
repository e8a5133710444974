from pathlib import Path

import pytest

from training.errors import DataError
from training.evaluation.curves import history_beside, read_curves


def test_lines_are_read_with_what_they_have(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(
        '{"step": 10, "epoch": 1, "loss": 4.5, "rate": "fast"}\n\n'
        '{"epoch": 2, "loss": NaN, "cider": 0.25, "dev_loss": null}\n'
        '{"epoch": 3, "lo'
    )
    assert read_curves(path) == [{"step": 10, "epoch": 1, "loss": 4.5}, {"epoch": 2, "cider": 0.25}]


@pytest.mark.parametrize("line", ["[1]", "no json", '{"cider": "high"}', '{"epoch": true}'])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text('{"epoch": 1}\n' + line + "\n")
    with pytest.raises(DataError, match=r"history\.jsonl, line 2: "):
        read_curves(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_curves(tmp_path / "other")


def test_it_lies_beside_the_checkpoint_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoint").mkdir()
    assert history_beside(tmp_path / "checkpoint") is None
    (tmp_path / "history.jsonl").touch()
    assert history_beside(tmp_path / "checkpoint") == tmp_path / "history.jsonl"
    monkeypatch.chdir(tmp_path / "checkpoint")
    assert history_beside(Path()) == tmp_path / "history.jsonl"
