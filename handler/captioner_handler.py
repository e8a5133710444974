"""TorchServe's entry point: a batch of requests → captions from one run of the engine.

In the archive this file sits at the top, beside the packages `handler` and `model`.
It holds one class, as TorchServe demands.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path

import torch
from ts.context import Context

from handler.errors import ReplyTooLarge
from handler.memory import Memory
from handler.metrics import Metrics
from handler.parse.request import parse_request
from handler.photo import ParsedRequest, PhotoResult, PreparedPhoto
from handler.policy import Policy
from handler.prepare import prepare
from handler.reply import Reply, description_reply, error_reply, request_reply
from handler.request_log import log_request, request_id
from handler.run import run
from handler.settings import Settings
from handler.threads import Threads
from model.captioner import Captioner

ORIGIN = ("source", "license", "provenance")
"""What an archive's manifest says of where its weights are from, beside TorchServe's own fields."""


class CaptionerHandler:
    """Requests of one dynamic batch → one reply each; a bad photo fails alone."""

    def initialize(self, context: Context) -> None:
        """Load the model from the extracted archive.

        Raises SettingsError, OptionError or CheckpointError, which TorchServe logs.
        """
        settings = Settings.from_yaml(context.model_yaml_config)
        cores = torch.get_num_threads()
        torch.set_num_threads(settings.threads(cores))
        self.threads = Threads(cores)
        self.settings = settings
        self.captioner = Captioner.from_folder(
            Path(context.system_properties["model_dir"]) / "checkpoint", dtype=settings.dtype
        )
        defaults = self.captioner.options.replace(**settings.options)
        self.policy = Policy(defaults, settings.limits, settings.max_photos)
        self.captioner.check_options(defaults)
        manifest = context.manifest
        # The name is the registered one, whatever the archive was built as.
        self.model = {"name": context.model_name, "version": manifest["model"]["modelVersion"]}
        self.origin = {name: manifest[name] for name in ORIGIN if name in manifest}
        self.metrics = Metrics(context.metrics, **self.model)
        self.memory = Memory()

    def handle(self, data: Sequence[Mapping[str, object]], context: Context) -> list[bytes]:
        """Answer each request of a batch: its status goes to `context`, its JSON body is returned."""
        bodies = self.serve(data, context)
        self.memory.release()  # of all that was made for the batch, which is out of reach by now
        return bodies

    def serve(self, data: Sequence[Mapping[str, object]], context: Context) -> list[bytes]:
        """Answer each request of a batch, and note what came of it in metrics and log."""
        self.threads.share()
        began = time.perf_counter()
        headers = [context.get_all_request_header(index) for index in range(len(data))]
        replies, results = self.answer(data, headers)
        for index, reply in enumerate(replies):
            context.set_response_status(reply.status.value, reply.status.phrase, index)
            context.set_response_content_type(index, "application/json")
        seconds = time.perf_counter() - began
        self.metrics.observe(replies, results, seconds)
        if self.settings.log_requests:
            batch = {"requests": len(replies), "seconds": round(seconds, 6)}
            for index, reply in enumerate(replies):
                own = context.get_request_id(index)
                ids = {"request_id": request_id(headers[index], own), "torchserve_id": own}
                log_request(ids, self.model, reply, results[index], batch)
        return [reply.body for reply in replies]

    def answer(
        self, items: Sequence[Mapping[str, object]], headers: Sequence[Mapping[str, object]]
    ) -> tuple[list[Reply], list[list[PhotoResult | Exception]]]:
        """Parse each request, prepare its photos, run those of all requests together, reply to each.

        Returns the replies, and for each the results of its photos.
        """
        requests = [self.parse(item, header) for item, header in zip(items, headers, strict=True)]
        photos = [self.prepare(request) for request in requests]
        results = self.run(photos)
        replies = [self.reply(request, found) for request, found in zip(requests, results, strict=True)]
        return replies, results

    def parse(self, item: Mapping[str, object], headers: Mapping[str, object]) -> ParsedRequest | Reply:
        """Read one request, or reply to it at once: with an error, or a description."""
        if asks_for_description(item, headers):
            return self.describe()
        try:
            return parse_request(item, headers, self.policy)
        except Exception as error:
            return error_reply(error)

    def prepare(self, request: ParsedRequest | Reply) -> list[PreparedPhoto | Exception]:
        """Check, decode and preprocess the photos of one request."""
        if isinstance(request, Reply):
            return []
        try:
            return prepare(request.photos, self.captioner, self.settings)
        except Exception as error:
            return [error] * len(request.photos)

    def run(
        self, photos: Sequence[Sequence[PreparedPhoto | Exception]]
    ) -> list[list[PhotoResult | Exception]]:
        """Put the photos of all requests through the engine together; an error stays in its place."""
        ready = [one for of_request in photos for one in of_request if isinstance(one, PreparedPhoto)]
        results: Iterator[PhotoResult | Exception]
        try:
            results = iter(run(self.captioner, ready, self.settings))
        except Exception as error:
            # Let out of the handler, an exception fails every request of the batch with a bare 503.
            results = repeat(error)
        return [
            [next(results) if isinstance(one, PreparedPhoto) else one for one in of_request]
            for of_request in photos
        ]

    def reply(self, request: ParsedRequest | Reply, results: Sequence[PhotoResult | Exception]) -> Reply:
        """Reply to one request with what came out for its photos."""
        if isinstance(request, Reply):
            return request
        try:
            reply = request_reply(request, results, self.model)
        except Exception as error:
            return error_reply(error)
        most = self.settings.max_reply_bytes
        if len(reply.body) > most:  # TorchServe would end the worker
            return error_reply(ReplyTooLarge(f"the reply has more than {most} bytes: ask for fewer photos"))
        return reply

    def describe(self) -> Reply:
        """Say how captions are made: origin of the weights, options and limits, what the worker runs on."""
        weights = next(self.captioner.model.parameters())
        runtime = {
            "dtype": str(weights.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
        }
        limits = self.settings.described_limits()
        return description_reply(self.model, self.origin, self.policy.defaults, limits, runtime)


def asks_for_description(item: Mapping[str, object], headers: Mapping[str, object]) -> bool:
    """Tell `GET /models/NAME?customized=true` of the management port from a client's own header.

    TorchServe sets the header `describe` for it and hands nothing over. From the inference port there
    is always a body, if an empty one, except for a form without fields, which names its content type.
    """
    typed = any(name.lower() == "content-type" for name in headers)
    return headers.get("describe") == "True" and not item and not typed
