"""Everything the engine raises on purpose.

CaptionerError
├── ImageError              the bytes of one photo cannot be used
│   ├── NotAnImage          Pillow recognises no format, or the data is broken
│   └── ImageTooLarge       more pixels than the bound (a decompression bomb)
│       └── TooManyScans    a JPEG that would be decoded over and over
├── OptionError             a generation option is unknown or out of its range
├── ExplanationTimeout      an explanation takes longer than it may
└── CheckpointError         a checkpoint folder cannot be used
    ├── ConfigError         a field of a JSON file is missing, unsupported or invalid
    └── WeightsError        keys are unknown, missing or misshapen

All but the last concern one photo, and the first two are the caller's doing; a
CheckpointError is the operator's and comes up while loading.
"""


class CaptionerError(Exception):
    """Base of all errors that the engine raises on purpose."""


class ImageError(CaptionerError):
    """The bytes of one photo cannot be used."""


class NotAnImage(ImageError):
    """The data is empty, broken, or in no format that Pillow reads."""


class ImageTooLarge(ImageError):
    """The photo holds more pixels than the configured bound."""


class TooManyScans(ImageTooLarge):
    """The photo is a JPEG that would be decoded more often than is allowed, whatever its size."""


class OptionError(CaptionerError):
    """A generation option is unknown or out of its range.

    `field` is the option's name, so that a reply can point at it.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class ExplanationTimeout(CaptionerError):
    """An explanation takes longer than the bound in time on explanations."""


class CheckpointError(CaptionerError):
    """A checkpoint folder cannot be used."""


class ConfigError(CheckpointError):
    """A field of a checkpoint's JSON files is missing, unsupported or invalid."""


class WeightsError(CheckpointError):
    """The weights do not fit the configuration: unknown, missing or misshapen keys."""
