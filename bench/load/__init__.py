"""`make load`: the documented examples as load on a running server, from a process of its own."""
