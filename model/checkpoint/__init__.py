"""Checkpoint folders of Hugging Face's layout: reading their files, and writing them."""
