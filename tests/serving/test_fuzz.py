"""The short version of `make fuzz`: 200 of its cases to a real server, good photos among them."""

from fuzz.campaign import captions
from fuzz.run import EVERY, GOOD, Good, run
from fuzz.target import Target
from model.captioner import Captioner
from serving.temporary import Server
from tests.serving.test_predictions import expected
from tests.tiny import photo

CASES = 200


def test_bad_requests_get_errors_and_good_photos_their_captions(server: Server, captioner: Captioner) -> None:
    target = Target(server)
    good = [Good(photo(seed), expected(captioner, seed)) for seed in range(8)]
    worker = target.worker().pid
    outcome = run(target, "0", range(CASES), good, lambda: None)
    assert [(fault.number, fault.what) for fault in outcome.faults] == []
    statuses = {status for _, status in outcome.counts}
    assert {"200", "400", "413", "415", "422"} <= statuses
    assert sum(count for (kind, _), count in outcome.counts.items() if kind != GOOD) == CASES
    assert outcome.counts[GOOD, "200"] == CASES / EVERY
    assert captions(target, [one.photo for one in good]) == [one.caption for one in good]
    assert target.worker().pid == worker
