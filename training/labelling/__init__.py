"""Captions for photos that have none, found among captions that have no photo."""
