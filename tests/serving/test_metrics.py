"""What a real server's metrics address says, and what a real Prometheus makes of it."""

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import yaml

from serving.temporary import Server
from tests.serving.conftest import ROOT
from tests.serving.test_predictions import ask_grpc
from tests.serving.test_readme import blocks, localised
from tests.tiny import photo

OPERATIONS = ROOT / "operations"
SAMPLE = re.compile(r"^(?P<name>\w+)\{(?P<labels>.*?),?\} (?P<value>\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(server: Server) -> Samples:
    """Name and labels, without host → value."""
    text = requests.get(f"{server.config.metrics.url}/metrics", timeout=10).text
    found = {}
    for sample in SAMPLE.finditer(text):
        labels = {
            name: value for name, value in LABEL.findall(sample["labels"]) if name.lower() != "hostname"
        }
        found[sample["name"], frozenset(labels.items())] = float(sample["value"])
    return found


def settled(server: Server) -> Samples:
    """Scrape until nothing is added any more: the front end reads a worker's lines beside its replies."""
    found: Samples = {}
    while True:
        now = scraped(server)
        counted = {key: value for key, value in now.items() if key[0].startswith("captioner_")}
        if counted == found:
            return now
        found = counted
        time.sleep(0.3)


def send(server: Server) -> None:
    """Five requests, one by one: the first over gRPC, the third without a photo, the last explained."""
    ask_grpc(server, {"image": photo(0)})
    for path, body in (
        ("predictions/tiny", photo(1)),
        ("predictions/tiny", b"no photo"),
        ("predictions/tiny/1.0", photo(2)),
        ("explanations/tiny", photo(3)),
    ):
        requests.post(f"{server.config.inference.url}/{path}", body, headers=server.headers(), timeout=60)


def test_each_request_adds_to_what_is_served(server: Server) -> None:
    before = settled(server)
    send(server)
    deadline = time.monotonic() + 10
    while True:
        now = settled(server)
        rise = {key: value - before.get(key, 0) for key, value in now.items()}
        if sum(value for (name, _), value in rise.items() if name == "captioner_requests_total") == 5:
            break
        assert time.monotonic() < deadline, rise

    def risen(name: str, **labels: str) -> float:
        return rise[name, frozenset({"model_name": "tiny", "model_version": "1.0", **labels}.items())]

    assert risen("captioner_requests_total", outcome="ok") == 4
    assert risen("captioner_requests_total", outcome="not_an_image") == 1
    assert risen("captioner_photos_total", outcome="ok") == 4
    assert risen("captioner_batch_requests_sum") == 5
    assert risen("captioner_batch_requests_bucket", le="1.0") == risen("captioner_batch_seconds_count") == 5
    assert {
        stage: risen("captioner_stage_seconds_count", stage=stage)
        for stage in ("decode", "encode", "generate", "explain")
    } == {"decode": 4, "encode": 4, "generate": 4, "explain": 1}
    assert (
        0 < risen("captioner_stage_seconds_sum", stage="encode") < risen("captioner_batch_seconds_sum") < 60
    )
    assert risen("captioner_tokens_total") > 4
    host = frozenset({("Level", "Host")})
    assert rise["QueueTime_count", host] == 5  # over HTTP and gRPC, with the wait of maxBatchDelay
    assert 100 <= rise["QueueTime_sum", host] / 5 < 10_000
    assert risen("captioner_requests_total", outcome="busy") == 0  # and there all the same


def test_all_that_is_listed_is_served_and_nothing_else(server: Server) -> None:
    listed = {
        one["name"]
        for section in ("ts_metrics", "model_metrics")
        for kind in yaml.safe_load((ROOT / "serving" / "metrics.yaml").read_text())[section].values()
        for one in kind
    }
    (command,) = (block for block in blocks("sh") if ":8082/metrics" in block)
    text = subprocess.run(
        ["sh", "-c", localised(command, server)], capture_output=True, text=True, check=True
    ).stdout
    assert set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)) == listed


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port: int = opened.getsockname()[1]
    return port


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except requests.ConnectionError:
            pass  # it has not come up yet
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture(scope="module")
def prometheus(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of one that watches the server by the configuration that ships, but for addresses and times."""
    if shutil.which("prometheus") is None:
        pytest.skip("no prometheus here: Debian has it in the package of that name")
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((OPERATIONS / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(OPERATIONS / "alerts.yml")]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [str(server.config.metrics)]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--web.listen-address={address}"]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen([*command, f"--storage.tsdb.path={folder}/data"], stdout=log, stderr=log)
    try:
        wait_for(lambda: requests.get(f"http://{address}/-/ready", timeout=10).ok)
        yield f"http://{address}/api/v1"
    finally:
        running.terminate()
        running.wait(30)


def evaluated(prometheus: str, expression: str) -> list[dict[str, Any]]:
    reply = requests.get(f"{prometheus}/query", params={"query": expression}, timeout=10).json()
    assert reply["status"] == "success", (expression, reply)
    found: list[dict[str, Any]] = reply["data"]["result"]
    return [one for one in found if one["value"][1] != "NaN"]


def test_each_query_of_the_dashboard_has_an_answer(server: Server, prometheus: str) -> None:
    dashboard = json.loads((OPERATIONS / "dashboard.json").read_text())
    wait_for(lambda: evaluated(prometheus, 'captioner_requests_total{job="captioner"}'))
    send(server)
    wait_for(lambda: evaluated(prometheus, 'rate(captioner_stage_seconds_sum{stage="explain"}[1m]) > 0'))
    wait_for(lambda: evaluated(prometheus, "count_over_time(CPUUtilization[1m]) > 1"))
    empty = []
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            text = target["expr"].replace("$__rate_interval", "1m")
            expression = re.sub(r"\$(instance|model)\b", ".*", text)
            if not evaluated(prometheus, expression):
                empty.append((panel["title"], expression))
    assert empty == []
    rules = requests.get(f"{prometheus}/rules", timeout=10).json()["data"]["groups"][0]["rules"]
    assert {rule["health"] for rule in rules} == {"ok"}
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
