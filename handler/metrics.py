"""What came of a batch → TorchServe's metrics; docs/metrics.md is the operator's table of them.

A worker writes each as a line to the front end, which adds up and serves them. `metrics.yaml` lists them
with their dimensions; one that it lacks would be dropped there, and is not written. A histogram's buckets
are fixed (0.005, 0.01, 0.025, … 2.5, 5, 7.5, 10), so times are in seconds.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from ts.metrics.metric_cache_abstract import MetricCacheAbstract

from handler.errors import OK, OUTCOMES, outcome_of
from handler.photo import PhotoResult
from handler.reply import Reply

REQUESTS, PHOTOS, TOKENS = "captioner_requests_total", "captioner_photos_total", "captioner_tokens_total"
BATCH_REQUESTS, BATCH_SECONDS = "captioner_batch_requests", "captioner_batch_seconds"
STAGE_SECONDS = "captioner_stage_seconds"


class Metrics:
    """The metrics of one version of a model."""

    def __init__(self, listed: MetricCacheAbstract | None, name: str, version: str) -> None:
        """Begin to count, at zero, so that the first of its kind is seen as a rise.

        `listed` is what the worker read from `metrics.yaml`; None outside of a server.
        """
        kinds = [] if listed is None else listed.cache.values()
        self.listed = {name: metric for kind in kinds for name, metric in kind.items()}
        self.model = (name, version)
        for outcome in OUTCOMES:
            self.emit(REQUESTS, 0, outcome)
            self.emit(PHOTOS, 0, outcome)
        self.emit(TOKENS, 0)

    def observe(
        self, replies: Sequence[Reply], results: Sequence[Sequence[PhotoResult | Exception]], seconds: float
    ) -> None:
        """Add one batch: its replies, what came out for the photos of each, and the time that all took."""
        self.emit(BATCH_REQUESTS, len(replies))
        self.emit(BATCH_SECONDS, seconds)
        self.emit_each(REQUESTS, [reply.outcome for reply in replies])
        photos = [photo for of_request in results for photo in of_request]
        self.emit_each(PHOTOS, [outcome_of(one) if isinstance(one, Exception) else OK for one in photos])
        done = [photo for photo in photos if isinstance(photo, PhotoResult)]
        for photo in done:
            for stage, milliseconds in asdict(photo.timings).items():
                if milliseconds:
                    self.emit(STAGE_SECONDS, milliseconds / 1000, stage)
        if tokens := sum(map(generated_tokens, done)):
            self.emit(TOKENS, tokens)

    def emit_each(self, name: str, outcomes: Sequence[str]) -> None:
        """Add to a counter for each outcome, once for all that share one."""
        for outcome, count in Counter(outcomes).items():
            self.emit(name, count, outcome)

    def emit(self, name: str, value: float, *labels: str) -> None:
        """Add to a counter or a histogram, where `metrics.yaml` lists it."""
        if name in self.listed:  # TorchServe reads no number that Python writes as 1e+16, nan or inf
            self.listed[name].add_or_update(round(value, 6), [*self.model, *labels])


def generated_tokens(photo: PhotoResult) -> int:
    """Count the tokens of all captions that were searched; a client's own caption was not."""
    return sum(len(caption.tokens) for caption in photo.captions) if photo.timings.generate else 0
