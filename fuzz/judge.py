"""Whether a reply is one that may be given: a caption with 200, an error object with 4xx, nothing else."""

import json
from typing import Any, NoReturn

from fuzz.case import Case, Own, Reply

OWN_ERRORS = {
    Own.BAD_FORM: (500, {"ErrorDataDecoderException", "StringIndexOutOfBoundsException"}),
    Own.BAD_HEADERS: (400, {"BadRequestException"}),
}
"""Status, and `type` in the JSON, of TorchServe's own."""
LISTS = ("predictions", "explanations")


def fault(case: Case, reply: Reply) -> str | None:
    """Say what is wrong with a reply; None where nothing is."""
    if is_front_ends(case, reply):
        return None
    if reply.status != 200 and not 400 <= reply.status < 500:
        return f"status {reply.status}"
    wrong = wrong_body(reply)
    return None if wrong is None else f"status {reply.status}{wrong}"


def wrong_body(reply: Reply) -> str | None:
    """Say how a body breaks what its status promises."""
    try:
        answers = answers_in(json.loads(reply.body, parse_constant=refuse))
    except ValueError:
        return ", and the body is no JSON"
    if not answers or not all(is_caption(answer) or is_error(answer) for answer in answers):
        return ", and an answer is neither a caption nor an error"
    if (reply.status == 200) != any(is_caption(answer) for answer in answers):
        return ", which does not fit the answers"
    if reply.status != 200 and answers[0]["error"]["code"] != reply.status:
        return f", and the error says {answers[0]['error']['code']}"
    return None


def is_front_ends(case: Case, reply: Reply) -> bool:
    """Whether TorchServe's front end answered in the handler's place, as it may for this case."""
    return any(is_own(reply, own) for own in case.own)


def status_in(body: bytes) -> int:
    """Return the status that a reply over gRPC would have over HTTP: an error's code where all failed."""
    try:
        answers = answers_in(json.loads(body))
    except ValueError:
        return 200
    return int(answers[0]["error"]["code"]) if answers and all(map(is_error, answers)) else 200


def caption_in(reply: Reply) -> str | None:
    """Return the caption of a reply for one photo; None where it has none."""
    body = json.loads(reply.body)
    return body["caption"] if reply.status == 200 and is_caption(body) else None


def answers_in(body: object) -> list[Any]:
    """Return the answer for each photo, from any form of reply."""
    if not isinstance(body, dict):
        return []
    for name in LISTS:
        if isinstance(body.get(name), list):
            return list(body[name])
    if isinstance(body.get("outputs"), list):
        columns = {tensor["name"]: tensor["data"] for tensor in body["outputs"]}
        if "reply" in columns:
            return [json.loads(text, parse_constant=refuse) for text in columns["reply"]]
        return [{"caption": ""} for _ in next(iter(columns.values()))]  # other tensors were asked for
    return [body]


def is_caption(answer: object) -> bool:
    """Whether an answer holds a caption, which may be empty, and no error."""
    return isinstance(answer, dict) and isinstance(answer.get("caption"), str) and "error" not in answer


def is_error(answer: object) -> bool:
    """Whether an answer is an error object with code, type and message."""
    error = answer.get("error") if isinstance(answer, dict) else None
    return (
        isinstance(error, dict)
        and isinstance(error.get("code"), int)
        and 400 <= error["code"] < 500
        and all(isinstance(error.get(name), str) and error[name] for name in ("type", "message"))
    )


def is_own(reply: Reply, own: Own) -> bool:
    """Whether a reply is this one of TorchServe's front end."""
    if own is Own.TOO_LARGE:
        return reply.status == 413 and not reply.body
    status, types = OWN_ERRORS[own]
    try:
        body = json.loads(reply.body)
    except ValueError:
        return False
    return reply.status == status and isinstance(body, dict) and body.get("type") in types


def refuse(constant: str) -> NoReturn:
    """Refuse NaN and the infinities, which JSON does not have."""
    raise ValueError(constant)
