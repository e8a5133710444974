"""Examples of the README and of docs/, run as they stand but for addresses, the model's name and the key."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from serving.temporary import Server
from tests.serving.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def keys(value: object) -> object:
    """The shape of a JSON value: names and nesting without the values."""
    if isinstance(value, dict):
        return {name: keys(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [keys(value[0])] if value else []
    return type(value).__name__


def localised(text: str, server: Server) -> str:
    text = text.replace("127.0.0.1:8080", str(server.config.inference))
    text = text.replace("127.0.0.1:8082", str(server.config.metrics))
    text = text.replace("127.0.0.1:7070", str(server.config.grpc_inference))
    text = re.sub(r"/(predictions|explanations|models)/captioner", r"/\1/tiny", text)
    return text.replace('model_name="captioner"', 'model_name="tiny"').replace(
        "$(make -s token)", server.key()
    )


CURLS = [line for block in blocks("sh") for line in block.splitlines() if "curl -H" in line]
EXAMPLE = next(json.loads(block) for block in blocks("json") if '"captions"' in block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        assert link.startswith("https://") or (page.parent / link).exists(), link


def test_the_readme_is_short() -> None:
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("command", sorted(set(CURLS)))
def test_curl_gets_a_reply_of_the_documented_shape(command: str, server: Server) -> None:
    done = subprocess.run(
        ["sh", "-c", localised(command, server) + " --silent --show-error"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    reply = json.loads(done.stdout)
    if "/v1/" in command:
        assert reply.keys() == {"predictions", "model"}
        assert len(reply["predictions"]) == 2
        reply = {**reply["predictions"][0], "model": reply["model"]}
    if "/explanations/" in command:
        assert {"heatmaps", "photo", "grid"} <= reply.pop("explanation").keys()
    assert keys(reply) == keys(EXAMPLE)


def run_python(block: str, **names: object) -> None:
    exec(compile(block, "README.md", "exec"), {"__name__": "__main__", **names})


def python_block(word: str) -> str:
    (block,) = (block for block in blocks("python") if word in block)
    return block


def test_grpc_example(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    photo = (ROOT / "examples" / "dog.jpg").read_bytes()
    run_python(localised(python_block("grpc"), server), photo=photo, token=server.key())
    assert keys(json.loads(capsys.readouterr().out)) == keys(EXAMPLE)


def test_engine_example(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    run_python(python_block("Captioner").replace("checkpoints/flickr8k-coco", str(checkpoint)))
    score, text = capsys.readouterr().out.split(maxsplit=1)
    assert float(score) < 0
    assert text.strip()


def test_there_are_examples() -> None:
    assert len(CURLS) >= 7
    assert isinstance(EXAMPLE, dict)
