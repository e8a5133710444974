"""What the handler counts, against counts by hand; lines as TorchServe's worker writes them."""

import logging
import re
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

from handler.captioner_handler import CaptionerHandler
from handler.errors import CLIENT_ERRORS, OUTCOMES
from handler.metrics import Metrics
from tests.handler.conftest import NewContext, as_base64, ask, body
from tests.tiny import photo

METRICS = Path(__file__).parents[2] / "serving" / "metrics.yaml"
LISTED: dict[str, list[dict[str, Any]]] = yaml.safe_load(METRICS.read_text())["model_metrics"]
LINE = re.compile(  # of org.pytorch.serve.metrics.Metric, which does not read another
    r"\[METRICS\]([\w\s]+)\.([\w\s]+):([0-9\-,.e]+)\|#([^|]*)\|#type:([^|,]+)\|#hostname:([^,]+),([^,]+)"
)
EXPLAINED = {"explain": b"true", "form": b"values", "method": b"attention"}  # the quickest
Found = dict[tuple[str, ...], list[float]]


def listed(path: Path = METRICS) -> MetricsCacheYamlImpl:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves the file open
        cache = MetricsCacheYamlImpl(str(path))
    cache.initialize_cache()
    return cache


def written(caplog: pytest.LogCaptureFixture) -> Found:
    """Name and values of the labels after model and version → what was added."""
    found: Found = defaultdict(list)
    for record in caplog.records:
        if record.name == "ts.metrics.caching_metric":
            line = LINE.fullmatch(record.getMessage())
            assert line, record.getMessage()
            labels = dict(label.split(":") for label in line[4].split(","))
            assert (labels.pop("model_name"), labels.pop("model_version")) == ("tiny", "2.1")
            found[line[1], *labels.values()].append(float(line[3]))
    return found


@pytest.fixture
def metrics(
    handler: CaptionerHandler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Metrics:
    """Those of the handler, just begun."""
    caplog.set_level(logging.INFO, "ts.metrics.caching_metric")
    begun = Metrics(listed(), "tiny", "2.1")
    monkeypatch.setattr(handler, "metrics", begun)
    return begun


def test_counters_begin_at_zero(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ts.metrics.caching_metric")
    Metrics(listed(), "tiny", "2.1")
    found = written(caplog)
    kinds = {"ok", "described", "internal_error", *(kind for _, kind in CLIENT_ERRORS.values())}
    assert {outcome for name, *labels in found for outcome in labels} == kinds == set(OUTCOMES)
    assert len(found) == 2 * len(kinds) + 1
    assert all(values == [0] for values in found.values())


def test_a_batch_is_counted(
    handler: CaptionerHandler,
    new_context: NewContext,
    metrics: Metrics,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.clear()
    explained = {name: bytearray(value) for name, value in EXPLAINED.items()}
    replies = ask(
        handler,
        new_context,
        [
            body(0),
            {"body": bytearray(b"no photo")},
            {},
            {"image": bytearray(photo(0, (200, 200)))},
            {"body": {"instances": [as_base64(1), "***", as_base64(2), {"image": as_base64(3)}]}},
            {"body": {"instances": ["***", "Z2FyYmFnZQ=="]}},
            {"image": bytearray(photo(4)), **explained},
            {"image": bytearray(photo(5)), "caption": bytearray(b"a dog"), **explained},
            {"image": bytearray(photo(6)), "num_beams": bytearray(b"99")},
        ],
    )
    assert [status for status, _ in replies] == [200, 415, 400, 413, 200, 400, 200, 200, 422]
    found = written(caplog)
    name = "captioner_requests_total"
    assert {labels[0]: sum(values) for (this, *labels), values in found.items() if this == name} == {
        "ok": 4,
        "not_an_image": 1,
        "bad_request": 2,
        "image_too_large": 1,
        "invalid_value": 1,
    }
    name = "captioner_photos_total"  # of the seven requests that were understood
    assert {labels[0]: sum(values) for (this, *labels), values in found.items() if this == name} == {
        "ok": 6,
        "not_an_image": 2,
        "image_too_large": 1,
        "bad_request": 2,
    }
    assert found["captioner_batch_requests",] == [9]
    photos = [replies[0][1], *(replies[4][1]["predictions"][index] for index in (0, 2, 3)), replies[6][1]]
    tokens = sum(len(caption["tokens"]) for one in photos for caption in one["captions"])
    assert found["captioner_tokens_total",] == [tokens]  # the client's own caption is none of them
    name = "captioner_stage_seconds"
    stages = {labels[0]: values for (this, *labels), values in found.items() if this == name}
    assert {stage: len(values) for stage, values in stages.items()} == {
        "decode": 6,
        "encode": 5,
        "generate": 5,
        "explain": 2,
    }
    assert len(set(stages["encode"])) == len(set(stages["generate"])) == 1  # all at once
    (whole,) = found["captioner_batch_seconds",]
    parts = stages["encode"][0] + stages["generate"][0] + sum(stages["explain"]) + sum(stages["decode"])
    assert 0.2 * whole < parts < whole


def test_seconds_are_those_that_a_client_is_told_in_ms(
    handler: CaptionerHandler,
    new_context: NewContext,
    metrics: Metrics,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.clear()
    [(_, reply)] = ask(handler, new_context, [body(0) | {"timings": bytearray(b"true")}])
    found = written(caplog)
    for stage in ("decode", "encode", "generate"):
        (seconds,) = found["captioner_stage_seconds", stage]
        assert 1000 * seconds == pytest.approx(reply["timings"][stage], abs=0.011)


def test_a_description_is_none_of_the_captions(
    handler: CaptionerHandler,
    new_context: NewContext,
    metrics: Metrics,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.clear()
    ask(handler, new_context, [{}], describe="True")
    found = written(caplog)
    assert found["captioner_requests_total", "described"] == [1]
    assert {name for name, *_ in found} == {
        "captioner_requests_total",
        "captioner_batch_requests",
        "captioner_batch_seconds",
    }


def test_a_defect_is_an_internal_error(
    handler: CaptionerHandler,
    new_context: NewContext,
    metrics: Metrics,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    caplog.clear()
    monkeypatch.setattr("handler.captioner_handler.run", fail)
    ask(handler, new_context, [body(0), body(1)])
    found = written(caplog)
    assert found["captioner_requests_total", "internal_error"] == [2]
    assert found["captioner_photos_total", "internal_error"] == [2]


def test_what_is_not_listed_is_not_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    kept = {"counter": [one for one in LISTED["counter"] if one["name"] == "captioner_tokens_total"]}
    (tmp_path / "metrics.yaml").write_text(yaml.safe_dump({"model_metrics": kept}))
    Metrics(listed(tmp_path / "metrics.yaml"), "tiny", "2.1")
    assert set(written(caplog)) == {("captioner_tokens_total",)}


def test_all_that_is_listed_is_written(
    handler: CaptionerHandler,
    new_context: NewContext,
    metrics: Metrics,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ask(handler, new_context, [body(0)])
    names = {one["name"] for kind in LISTED.values() for one in kind}
    assert {name for name, *_ in written(caplog)} == names
