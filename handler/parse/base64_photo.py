"""The photo in a JSON body: base64, or a data: URL that holds base64. No other URL is looked at."""

import base64
import binascii
import re

from handler.errors import RequestError

DATA_URL = re.compile(r"data:[^,;]*(;[^,;]*)*;base64,", re.IGNORECASE | re.ASCII)
WHITE_SPACE = dict.fromkeys(code for code in range(0x10000) if chr(code).isspace())
"""For `str.translate`, which leaves it out; to split there would take twenty times the text's memory."""
LONGEST_PREFIX = 200  # characters of a data: URL before its data


def decoded_photo(value: object, where: str) -> bytes:
    """Decode base64, a data: URL or `{"b64": base64}`; raises RequestError naming `where`."""
    if isinstance(value, dict) and set(value) == {"b64"}:
        value, where = value["b64"], f"{where}.b64"
    if not isinstance(value, str):
        raise RequestError('holds no photo: base64 or a "data:" URL is needed, as a string', where)
    if not value:
        raise RequestError("is empty: base64 of a photo is needed", where)
    if value[:5].lower() == "data:":
        match = DATA_URL.match(value[:LONGEST_PREFIX])
        if match is None:
            raise RequestError('is a "data:" URL without ";base64,"', where)
        value = value[match.end() :]
    elif "://" in value[:20]:
        raise RequestError("is a URL, and none is fetched: send the photo itself, as base64", where)
    try:
        data = base64.b64decode(value.translate(WHITE_SPACE), validate=True)
    except (binascii.Error, ValueError):
        raise RequestError("is not valid base64", where) from None
    if not data:
        raise RequestError("is empty: base64 of a photo is needed", where)
    return data
