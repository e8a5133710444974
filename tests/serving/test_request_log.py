"""The file of JSON lines that a real server writes."""

import json
import re
import time
from typing import Any

import requests

from serving.temporary import Server
from tests.serving.conftest import ROOT
from tests.serving.test_predictions import ask_grpc
from tests.tiny import photo

PROMPT = "two children"


def lines_of(server: Server) -> list[dict[str, Any]]:
    """All lines so far; each is JSON, and nothing else."""
    return [json.loads(line) for line in server.log("requests.log").splitlines()]


def test_a_request_has_one_id_from_end_to_end(server: Server) -> None:
    before = len(lines_of(server))
    with_id = server.headers() | {"X-Request-Id": "order-17", "X-Caption-Prompt": PROMPT.replace(" ", "%20")}
    replies = [
        requests.post(server.url, photo(0), headers=headers, timeout=60)
        for headers in (with_id, server.headers())
    ]
    caption = ask_grpc(server, {"image": photo(1)})["caption"]
    deadline = time.monotonic() + 10
    while len(lines := lines_of(server)[before:]) < 3:  # the front end reads lines beside replies
        assert time.monotonic() < deadline
        time.sleep(0.1)
    one, other, over_grpc = lines
    assert one["request_id"] == "order-17"
    assert one["torchserve_id"] == replies[0].headers["x-request-id"]
    assert other["request_id"] == other["torchserve_id"] == replies[1].headers["x-request-id"]
    assert over_grpc["request_id"] == over_grpc["torchserve_id"] != other["request_id"]
    assert [line["status"] for line in lines] == [200, 200, 200]
    assert one["reply_bytes"] == len(replies[0].content)

    logs = [server.log(name) for name in ("requests.log", "model.log", "server.log", "access.log")]
    assert '{"time"' not in logs[1]
    assert PROMPT in replies[0].json()["caption"]
    for text in logs:
        for secret in (PROMPT, caption, server.key()):
            assert secret not in text


def test_the_documented_line_has_the_fields_of_a_real_one(server: Server) -> None:
    requests.post(server.url, photo(0), headers=server.headers(), timeout=60)
    text = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    (line,) = re.findall(r'^ *(\{"time".*\})$', text, re.MULTILINE)
    documented, real = json.loads(line), lines_of(server)[-1]
    assert list(documented) == list(real)
    for name in ("model", "batch"):
        assert list(documented[name]) == list(real[name])
