"""The `curl` commands of the documents → requests, so that load is what clients are told to send.

Known are the parts that the documents use: -H, -F, -T, -d @- behind a pipe that makes the body, and the URL.
"""

import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CURL = "curl -H"
MODEL = re.compile(r"(?<=/)captioner(?=$|[/:])")


@dataclass(frozen=True, slots=True)
class Example:
    """One request, but for the server's address and the key."""

    path: str
    headers: dict[str, str]
    body: bytes

    def send(self, session: requests.Session, server: str, key: str) -> requests.Response:
        """Send it to `http://HOST:PORT`."""
        headers = {**self.headers, "Authorization": f"Bearer {key}"}
        return session.post(server + self.path, self.body, headers=headers, timeout=60)


def documented(name: str) -> list[Example]:
    """Read the examples of README and docs/, for the model `name`; raises ValueError for an unknown part."""
    texts = [block for page in PAGES for block in BLOCK.findall(page.read_text(encoding="utf-8"))]
    lines = [line for text in texts for line in text.splitlines() if CURL in line]
    return [example(line, name) for line in lines]


def example(line: str, name: str) -> Example:
    """Read one line of shell."""
    before, _, after = line.partition(CURL)
    words = iter(shlex.split(f"-H{after}"))
    headers: dict[str, str] = {}
    fields: list[tuple[str, tuple[str | None, bytes]]] = []
    body, url = b"", ""
    for word in words:
        if word == "-H":
            header, _, value = next(words).partition(": ")
            headers[header] = value
        elif word == "-F":
            field, _, text = next(words).partition("=")
            data = (ROOT / text[1:]).read_bytes() if text.startswith("@") else text.encode()
            fields.append((field, (text[1:] if text.startswith("@") else None, data)))
        elif word == "-T":
            body = (ROOT / next(words)).read_bytes()
        elif word == "-d" and next(words) == "@-":
            body = subprocess.run(
                ["sh", "-c", before.rstrip("| ")], cwd=ROOT, capture_output=True, check=True
            ).stdout
        elif word.startswith("http://"):
            url = word
        else:
            raise ValueError(f"{word} is not known: {line}")
    made = requests.Request("POST", url, headers, data=body or None, files=fields or None).prepare()
    path = MODEL.sub(name, urlsplit(url).path)
    for header in ("Authorization", "Content-Length"):  # of the document, and of whoever sends it
        made.headers.pop(header, None)
    if not isinstance(made.body, bytes):
        raise ValueError(f"nothing is sent: {line}")
    return Example(path, dict(made.headers), made.body)
