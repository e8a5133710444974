"""Versions of a model on the running server: roll out, go back, scale, release, without losing a request."""
