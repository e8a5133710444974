"""The Python client with a real server: README, replies, errors, a key that changes, a worker that dies."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from captioner_client import Client, InvalidValue, KeyRefused, ModelNotFound, NotAnImage, Reply

from model.captioner import Captioner
from serving import process
from serving.access import KEY_FILE, renew
from serving.temporary import Server, served_archive
from tests.serving.conftest import ROOT
from tests.serving.test_predictions import expected
from tests.tiny import photo

README = (ROOT / "clients" / "python" / "README.md").read_text(encoding="utf-8")


def client(server: Server) -> Client:
    return Client(server.config.inference.url, key=server.root / KEY_FILE, model=server.name, timeout=5)


def localised(block: str, server: Server) -> str:
    block = block.replace("http://127.0.0.1:8080", server.config.inference.url)
    return block.replace(
        'key=Path("key_file.json")', f'key=Path({str(server.root / KEY_FILE)!r}), model="tiny"'
    )


def test_the_readme(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    api = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    texts = [README, api[api.index("## From Python") : api.index("## gRPC")]]
    blocks = [re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE) for text in texts]
    for page in blocks:
        names: dict[str, object] = {"__name__": "__main__"}
        for block in page:
            exec(compile(localised(block, server), "README.md", "exec"), names)
    assert [len(page) for page in blocks] == [3, 1]
    raw = requests.post(
        server.url, (ROOT / "examples" / "dog.jpg").read_bytes(), headers=server.headers(), timeout=60
    )
    assert raw.json()["caption"] in capsys.readouterr().out


def test_replies_and_errors(server: Server, captioner: Captioner) -> None:
    photos = [photo(seed) for seed in range(9)]
    photos[3] = photos[3][: len(photos[3]) // 2]
    with client(server) as asking:
        replies = list(asking.caption_many(photos))
        assert isinstance(replies.pop(3), NotAnImage)
        captions = [reply.caption for reply in replies if isinstance(reply, Reply)]
        assert captions == [expected(captioner, seed) for seed in range(9) if seed != 3]
        alone = asking.caption(photos[0], timings=True)
        assert alone.timings is not None
        assert alone.captions[0].words == asking.caption(photos[0]).captions[0].words
        explained = asking.caption(photos[0], heatmaps=True, form="values")
        assert explained.explanation is not None
        assert explained.explanation.heatmaps[0].values is not None
        with pytest.raises(InvalidValue, match="num_beams: 99 is not an integer from 1 to 16") as refused:
            asking.caption(photos[0], num_beams=99)
        assert (refused.value.status, refused.value.field) == (422, "num_beams")
        [failed, _] = asking.caption_many(photos[:2], num_beams=99)
        assert isinstance(failed, InvalidValue)
    url = server.config.inference.url
    with (
        Client(url, key=server.key(), model="none") as asking,
        pytest.raises(ModelNotFound, match="not found: none"),
    ):
        asking.caption(photos[0])
    with Client(url, key="wrong", model="tiny") as asking, pytest.raises(KeyRefused):
        asking.caption(photos[0])


@pytest.fixture
def own_server(new_folder: Callable[[], Path]) -> Iterator[Server]:
    """One whose worker may die: other tests look at what the shared one's did."""
    with served_archive(new_folder(), "tiny") as served:
        yield served


def test_a_renewed_key_and_a_dead_worker_cost_no_photo(own_server: Server, captioner: Captioner) -> None:
    server = own_server
    server.key()  # the file has one that is valid

    def photos() -> Iterator[bytes]:
        for place in range(9):
            if place == 3:
                renew(server.root, "inference", server.config.management)
            if place == 6:
                running = process.find(server.root)
                assert running is not None
                for child in running.children(recursive=True):
                    child.kill()
            yield photo(0)

    with client(server) as asking:
        replies = list(asking.caption_many(photos(), photos_per_request=1))
    assert [reply.caption for reply in replies if isinstance(reply, Reply)] == [expected(captioner, 0)] * 9
