from pathlib import Path

import pytest

from training.errors import SnapshotError
from training.journal import Journal, Report


def report(epoch: int, cider: float) -> Report:
    return {"step": 10 * epoch, "epoch": epoch, "loss": 1.0, "cider": cider}


def test_what_came_after_a_snapshot_is_reported_again(tmp_path: Path) -> None:
    path = tmp_path / "run" / "history.jsonl"
    journal = Journal.until(path, 0)
    for epoch in (1, 2, 3):
        journal.add(report(epoch, 0.1 * epoch))
    resumed = Journal.until(path, 25)
    assert resumed.reports == [report(1, 0.1), report(2, 0.2)]
    resumed.add(report(3, 0.5))
    assert [line["cider"] for line in Journal.until(path, 99).reports] == [0.1, 0.2, 0.5]


def test_a_run_stops_when_its_dev_score_no_longer_rises(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "history.jsonl", [])
    better, stops = [], []
    for epoch, cider in enumerate([0.1, 0.3, 0.3, 0.2, 0.4, 0.3, 0.1], start=1):
        better.append(journal.is_better(report(epoch, cider)))
        journal.add(report(epoch, cider))
        stops.append(journal.exhausted(2))
    assert better == [True, True, False, False, True, False, False]
    assert stops == [False, False, False, True, False, False, True]
    assert not journal.exhausted(None)


def test_without_dev_scores_the_last_weights_count(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "history.jsonl", [{"step": 1, "epoch": 1, "loss": 2.0}])
    assert journal.is_better({"step": 2, "epoch": 2, "loss": 3.0})
    assert not journal.exhausted(1)


@pytest.mark.parametrize("content", ["{", "[1]", '{"epoch": 1}'])
def test_a_broken_history_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "history.jsonl").write_text(content + "\n")
    with pytest.raises(SnapshotError, match=r"history\.jsonl is no history of a run"):
        Journal.until(tmp_path / "history.jsonl", 5)
