"""TorchServe's entry point: a batch of requests → captions from one run of the engine.

In the archive this file sits at the top, beside the packages `handler` and `model`.
It holds one class, as TorchServe demands.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from ts.context import Context

from handler.answers import Answer, answer_jobs
from handler.errors import ReplyTooLarge
from handler.heap import Heap
from handler.jobs import Job, Opened, prepare
from handler.request import parse_request
from handler.response import Reply, description_reply, error_reply, request_reply, told_to_clients
from handler.settings import Settings
from model.captioner import Captioner

logger = logging.getLogger(__name__)

ORIGIN = ("source", "license", "provenance")
"""What an archive's manifest says of where its weights are from, beside TorchServe's own fields."""


class CaptionerHandler:
    """Requests of one dynamic batch → one reply each; a bad photo fails alone."""

    def initialize(self, context: Context) -> None:
        """Load the model from the extracted archive.

        Raises SettingsError, OptionError or CheckpointError, which TorchServe logs.
        """
        settings = Settings.from_yaml(context.model_yaml_config)
        torch.set_num_threads(settings.threads(cores=torch.get_num_threads()))
        self.settings = settings
        self.captioner = Captioner.from_folder(
            Path(context.system_properties["model_dir"]) / "checkpoint", dtype=settings.dtype
        )
        self.options = self.captioner.options.replace(**settings.options)
        settings.check_limits(self.options)
        self.captioner.check_options(self.options)
        manifest = context.manifest
        self.model = {"name": manifest["model"]["modelName"], "version": manifest["model"]["modelVersion"]}
        self.origin = {name: manifest[name] for name in ORIGIN if name in manifest}
        self.heap = Heap()

    def handle(self, data: Sequence[Mapping[str, object]], context: Context) -> list[bytes]:
        """Answer each request of a batch: its status goes to `context`, its JSON body is returned."""
        replies = self.answer(data, [context.get_all_request_header(index) for index in range(len(data))])
        for index, reply in enumerate(replies):
            context.set_response_status(reply.status.value, reply.status.phrase, index)
            context.set_response_content_type(index, "application/json")
        self.heap.release()
        return [reply.body for reply in replies]

    def answer(
        self, items: Sequence[Mapping[str, object]], headers: Sequence[Mapping[str, object]]
    ) -> list[Reply]:
        """Put the photos of all requests through the engine together, and reply to each request."""
        opened = [self.open(item, header) for item, header in zip(items, headers, strict=True)]
        jobs = [job for one in opened if isinstance(one, Opened) for job in one.jobs if isinstance(job, Job)]
        try:
            answers = answer_jobs(self.captioner, jobs, self.settings.explain_seconds)
        except Exception as error:
            # Let out of the handler, an exception fails every request of the batch with a bare 503.
            answers = [error] * len(jobs)
        order = iter(answers)
        return [self.close(one, order) if isinstance(one, Opened) else one for one in opened]

    def open(self, item: Mapping[str, object], headers: Mapping[str, object]) -> Opened | Reply:
        """Read one request as far as the network, or reply to it: with an error, or a description."""
        if asks_for_description(item, headers):
            return self.describe()
        try:
            request = parse_request(item, headers, self.settings.max_photos)
            return prepare(request, self.captioner, self.options, self.settings)
        except Exception as error:
            return self.fail(error)

    def close(self, opened: Opened, answers: Iterator[Answer | Exception]) -> Reply:
        """Reply to one request; its jobs take the next of `answers`."""
        own = [next(answers) if isinstance(job, Job) else job for job in opened.jobs]
        for one in own:
            if isinstance(one, Exception):
                log(one)
        try:
            reply = request_reply(opened.request, own, self.model)
        except Exception as error:
            return self.fail(error)
        most = self.settings.max_reply_bytes
        if len(reply.body) > most:  # TorchServe would end the worker
            return self.fail(ReplyTooLarge(f"the reply has more than {most} bytes: ask for fewer photos"))
        return reply

    def fail(self, error: Exception) -> Reply:
        """Reply to a request that fails as a whole."""
        log(error)
        return error_reply(error)

    def describe(self) -> Reply:
        """Say how captions are made: origin of the weights, options and limits, what the worker runs on."""
        weights = next(self.captioner.model.parameters())
        runtime = {
            "dtype": str(weights.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
        }
        limits = self.settings.described_limits()
        return description_reply(self.model, self.origin, self.options, limits, runtime)


def asks_for_description(item: Mapping[str, object], headers: Mapping[str, object]) -> bool:
    """Tell `GET /models/NAME?customized=true` of the management port from a client's own header.

    TorchServe sets the header `describe` for it and hands nothing over. From the inference port there
    is always a body, if an empty one, except for a form without fields, which names its content type.
    """
    typed = any(name.lower() == "content-type" for name in headers)
    return headers.get("describe") == "True" and not item and not typed


def log(error: Exception) -> None:
    """Keep what is no fault of the client; the rest is for the client alone."""
    if told_to_clients(error) is None:
        logger.error("a request failed", exc_info=error)
