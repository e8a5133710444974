"""One JSON line for each request, if `log_requests` in model-config.yaml asks for it.

`serving/log4j2.xml` keeps these lines in a file of their own, requests.log. They hold nothing that was sent
but the client's own id of the request: no photo, caption, prompt or key.
"""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from handler.metrics import generated_tokens
from handler.photo import PhotoResult
from handler.reply import Reply

logger = logging.getLogger(__name__)

HEADER = "x-request-id"
ID = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)
"""Ids that are taken over from a client; another one may be meant to look like something else in a log."""


def request_id(headers: Mapping[str, object], servers_own: str | None) -> str | None:
    """Return the client's X-Request-Id, else the id that TorchServe gave, which is in its reply's header."""
    sent = (value for name, value in headers.items() if name.lower() == HEADER)
    return next((value for value in sent if isinstance(value, str) and ID.fullmatch(value)), servers_own)


def log_request(
    ids: Mapping[str, str | None],
    model: Mapping[str, str],
    reply: Reply,
    results: Sequence[PhotoResult | Exception],
    batch: Mapping[str, float],
) -> None:
    """Write the line of one request: its ids, what became of it, and the longest times of its photos in s."""
    done = [one for one in results if isinstance(one, PhotoResult)]
    times = [asdict(one.timings) for one in done]
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        **ids,
        "model": model,
        "status": reply.status.value,
        "outcome": reply.outcome,
        "photos": len(results),
        "tokens": sum(map(generated_tokens, done)),
        "reply_bytes": len(reply.body),
        "batch": batch,
        "stages": {
            stage: round(max(one[stage] for one in times) / 1000, 6) for stage in (times[0] if times else ())
        },
    }
    logger.info(json.dumps(line))
