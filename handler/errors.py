"""What is wrong with a request, as the client is told it.

The engine's own errors (ImageTooLarge, NotAnImage, OptionError, ExplanationTimeout) are told, too;
these are for what never reaches the engine.
"""


class RequestError(Exception):
    """The request cannot be understood; the message says what to send.

    `field` is the part of the request that is meant, where there is one.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message if field is None else f"{field}: {message}")
        self.field = field


class Busy(Exception):
    """An explanation was not begun, because others have taken the time that explanations may take."""


class ReplyTooLarge(Exception):
    """The reply would be larger than the server sends; the message says what to ask less of."""
