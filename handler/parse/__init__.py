"""Bodies of every form that clients send → `ParsedRequest`; start reading at `request.parse_request`."""
