"""The captioning engine: photo bytes in, captions with scores out. Start reading at `captioner`."""

from model.captioner import Caption, Captioner, Token
from model.errors import (
    CaptionerError,
    CheckpointError,
    ConfigError,
    ExplanationTimeout,
    ImageError,
    ImageTooLarge,
    NotAnImage,
    OptionError,
    TooManyScans,
    WeightsError,
)
from model.explain.explainer import Explainer
from model.explain.explanation import Explanation
from model.search.options import GenerationOptions

__all__ = [
    "Caption",
    "Captioner",
    "CaptionerError",
    "CheckpointError",
    "ConfigError",
    "Explainer",
    "Explanation",
    "ExplanationTimeout",
    "GenerationOptions",
    "ImageError",
    "ImageTooLarge",
    "NotAnImage",
    "OptionError",
    "Token",
    "TooManyScans",
    "WeightsError",
]
