"""Starts, asks and stops the server: what the Makefile's `serve`, `token`, `caption` and `stop` run."""
