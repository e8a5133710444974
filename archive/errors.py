"""What building and reading an archive raise on purpose."""


class ArchiveError(Exception):
    """An archive cannot be built or read; the message is one line for the person who asked for it."""
