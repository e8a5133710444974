"""What the report of a run counts as wrong."""

from chaos.load import Outcome
from chaos.rollout import Report


def outcome(version: str | None, answered: float, *, first: str = "200", tries: int = 1) -> Outcome:
    return Outcome(first, "200" if version else "507", tries, version, answered, 0.5)


def test_a_request_without_an_answer_and_one_too_early_are_wrong() -> None:
    good = [outcome("1.0", 1.0), outcome("2.0", 9.0), outcome("1.0", 9.5, first="507", tries=3)]
    report = Report(good, [(2.0, "registering 2.0"), (5.0, "READY: 1 worker"), (8.0, "READY: 1 worker")], 1)
    assert report.problems("2.0") == []
    assert report.lines() == [
        "3 requests; 1 worker killed",
        "first tries: 200: 2, 507: 1",
        "sent again: 1, most often 2 times",
        "answered by: 1.0: 2, 2.0: 1",
        "longest wait: 0.5 s",
    ]
    report = Report([*good, outcome("2.0", 4.0), outcome(None, 9.0, first="507", tries=40)], report.told)
    assert report.problems("2.0") == [
        "1 requests were never answered 200",
        "1 were answered by 2.0 before it was READY",
    ]
