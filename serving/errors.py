"""What these commands raise on purpose."""


class ServingError(Exception):
    """A command cannot do its work; the message is one line for the person who gave it."""
