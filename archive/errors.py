"""What the archive's build raises on purpose."""


class ArchiveError(Exception):
    """The archive cannot be built; the message is one line for the person who asked for it."""
