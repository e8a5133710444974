"""The version of this package, which its requests carry."""

__version__ = "1.0.0"
