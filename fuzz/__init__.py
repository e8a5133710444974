"""Sends a live server what it should refuse, among good photos: `make fuzz`."""
