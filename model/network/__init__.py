"""The network: photo → image tokens → next word. It knows nothing of files, text or search."""
