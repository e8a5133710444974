"""Data: captions and photos, from files to batches."""
