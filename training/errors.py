"""What training and evaluation raise on purpose; each message is one line that a person can act on."""

INTERRUPTED = 130  # what a shell says of a program that Ctrl-C ended


class TrainingError(Exception):
    """Base of all errors that training and evaluation raise on purpose."""


class RecipeError(TrainingError):
    """A recipe file is missing, is no YAML mapping, or holds an unknown or invalid field."""


class DataError(TrainingError):
    """A data file or a photo is missing, unreadable or inconsistent; the message names file and field."""


class SnapshotError(TrainingError):
    """A saved training state does not fit the run that wants to resume from it."""


class ScoringError(TrainingError):
    """Captions cannot be scored, or what makes them cannot be asked; the message says why."""
