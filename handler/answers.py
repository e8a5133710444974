"""Jobs of a whole batch → what each photo is answered with."""

import time
from collections.abc import Sequence
from typing import Any

from handler.errors import Busy
from handler.explanations import explanation_body
from handler.jobs import Job
from handler.response import photo_body
from model.batch import Order, caption_batch, milliseconds
from model.captioner import Caption, Captioner
from model.explain.explainer import Explainer

Answer = dict[str, Any]


def answer_jobs(captioner: Captioner, jobs: Sequence[Job], explain_seconds: int) -> list[Answer | Exception]:
    """Caption all photos together, then explain those that ask for it, one by one.

    No explanation begins when `explain_seconds` have gone into others: captions wait for them.
    """
    searched = [index for index, job in enumerate(jobs) if given_caption(job) is None]
    orders = [
        Order(jobs[index].pixels, jobs[index].wish.options, jobs[index].wish.prompt) for index in searched
    ]
    delivered = dict(zip(searched, caption_batch(captioner, orders), strict=True))
    answers: list[Answer | Exception] = []
    spent = 0.0
    for index, job in enumerate(jobs):
        delivery = delivered.get(index)
        if isinstance(delivery, Exception):
            answers.append(delivery)
            continue
        timings = {"decode": job.decode, "encode": 0.0, "generate": 0.0, "explain": 0.0}
        if delivery is not None:
            timings |= {"encode": delivery.encode, "generate": delivery.generate}
        if job.wish.explanation is not None and spent > 1000 * explain_seconds:
            answers.append(Busy("other explanations have taken the time there is: send it again"))
            continue
        began = time.perf_counter()
        try:
            answers.append(answer(captioner, job, delivery.captions if delivery else (), timings))
        except Exception as error:
            answers.append(error)
        if job.wish.explanation is not None:
            spent += milliseconds(began)  # of those that fail, too
    return answers


def answer(captioner: Captioner, job: Job, captions: Sequence[Caption], timings: dict[str, float]) -> Answer:
    """Build the answer for one photo from its captions; none where the client gave its own."""
    wish, explanation = job.wish.explanation, None
    if wish is not None and job.picture is not None:
        began = time.perf_counter()
        explainer = Explainer(captioner, job.share.bounds)
        if wish.caption is not None:
            captions = (explainer.given(job.pixels, wish.caption, job.wish.options.length_penalty),)
        found = explainer.explain(job.pixels, captions[0], wish.method)
        explanation = explanation_body(found, wish, job.picture, job.size, job.share)
        timings["explain"] = milliseconds(began)
    return photo_body(captions, explanation, timings if job.wish.timings else None)


def given_caption(job: Job) -> str | None:
    """Return the caption that the client wants explained, where there is one."""
    return None if job.wish.explanation is None else job.wish.explanation.caption
