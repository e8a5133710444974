"""The captioning engine: photo bytes in, captions with scores out. Start reading at `captioner`."""
