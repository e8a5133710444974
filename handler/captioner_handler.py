"""TorchServe's entry point: a batch of requests → captions from one run of the engine.

In the archive this file sits at the top, beside the packages `handler` and `model`.
It holds one class, as TorchServe demands.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from ts.context import Context

from handler.request import parse_request
from handler.response import (
    CLIENT_ERRORS,
    Reply,
    caption_reply,
    client_error_reply,
    description_reply,
    internal_error_reply,
)
from handler.settings import Settings
from model.captioner import Captioner

logger = logging.getLogger(__name__)


class CaptionerHandler:
    """Photos of one dynamic batch → one reply each; a bad photo fails alone."""

    def initialize(self, context: Context) -> None:
        """Load the model from the extracted archive.

        Raises SettingsError, OptionError or CheckpointError, which TorchServe logs.
        """
        settings = Settings.from_yaml(context.model_yaml_config)
        torch.set_num_threads(settings.threads(cores=torch.get_num_threads()))
        self.captioner = Captioner.from_folder(
            Path(context.system_properties["model_dir"]) / "checkpoint",
            dtype=settings.dtype,
            max_pixels=settings.max_pixels,
        )
        self.options = self.captioner.options.replace(**settings.options)
        self.captioner.check_options(self.options)
        manifest = context.manifest["model"]
        self.model = {"name": manifest["modelName"], "version": manifest["modelVersion"]}

    def handle(self, data: Sequence[Mapping[str, object]], context: Context) -> list[bytes]:
        """Answer each request of a batch: its status goes to `context`, its JSON body is returned."""
        described = [context.get_request_header(index, "describe") == "True" for index in range(len(data))]
        replies = self.answer(data, described)
        for index, reply in enumerate(replies):
            context.set_response_status(reply.status.value, reply.status.phrase, index)
            context.set_response_content_type(index, "application/json")
        return [reply.body for reply in replies]

    def answer(self, requests: Sequence[Mapping[str, object]], described: Sequence[bool]) -> list[Reply]:
        """Caption all readable photos of a batch together; the other requests get their own replies."""
        read = [
            self.describe() if wanted else self.read(request)
            for request, wanted in zip(requests, described, strict=True)
        ]
        captioned = iter(self.caption([photo for photo in read if isinstance(photo, Tensor)]))
        return [next(captioned) if isinstance(photo, Tensor) else photo for photo in read]

    def describe(self) -> Reply:
        """Say how captions are made: the search options, and what the worker runs on."""
        weights = next(self.captioner.model.parameters())
        runtime = {
            "dtype": str(weights.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "max_pixels": self.captioner.max_pixels,
        }
        return description_reply(self.model, self.options, runtime)

    def read(self, request: Mapping[str, object]) -> Tensor | Reply:
        """One request → its photo (3, H, W), or the reply that says what is wrong with it."""
        try:
            return self.captioner.preprocess(parse_request(request).image)
        except tuple(CLIENT_ERRORS) as error:
            return client_error_reply(error)
        except Exception:
            logger.exception("a photo could not be read")
            return internal_error_reply()

    def caption(self, photos: Sequence[Tensor]) -> list[Reply]:
        """Photos (3, H, W) → one reply each, from one encoder pass and one beam search."""
        if not photos:
            return []
        try:
            results = self.captioner.caption(photos, self.options)
            return [caption_reply(captions, self.model) for captions in results]
        except Exception:
            # Let out of the handler, an exception fails every request of the batch with a bare 503.
            logger.exception("a batch of %d photos failed", len(photos))
            return [internal_error_reply()] * len(photos)
