"""What TorchServe calls: one request in, one JSON reply out, around the engine in `model`."""
