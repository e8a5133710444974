"""Packs handler, engine and checkpoint into one TorchServe archive."""
