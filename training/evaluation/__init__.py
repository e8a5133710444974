"""Scores of captions, and reports of them."""
