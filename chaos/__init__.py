"""Does to a live server, under load, what happens to servers, and counts what becomes of the requests."""
