"""How many scans a JPEG has: a decoder goes over the whole photo once for each of them.

A few bytes are a scan, so a small file can keep a decoder busy for hours. Neither Pillow nor
libjpeg, as Pillow drives it, has a bound.
"""

import re

MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
"""Any marker but the restarts within a scan; 0xFF00 is a byte of its data."""
START_OF_IMAGE, END_OF_IMAGE, START_OF_SCAN, TEMPORARY = 0xD8, 0xD9, 0xDA, 0x01
ALONE = (START_OF_IMAGE, TEMPORARY)
"""Markers without a segment behind them."""


def count_scans(data: bytes, most: int) -> int:
    """Count the scans of the first image in a JPEG file, up to `most` + 1 (ITU-T T.81, annex B).

    What lies inside other segments, such as a thumbnail, and what lies behind the image, such as
    a film, does not count. Never raises: broken data has the scans that come before its end.
    """
    scans, place = 0, 0
    while scans <= most and (found := MARKER.search(data, place)):
        marker, place = found[1][0], found.end()
        if marker == END_OF_IMAGE:
            break
        scans += marker == START_OF_SCAN
        if marker not in ALONE:
            place += int.from_bytes(data[place : place + 2])
    return scans
