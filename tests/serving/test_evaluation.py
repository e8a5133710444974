from pathlib import Path

import pytest

from archive.read import open_archive
from model.captioner import Captioner
from serving.temporary import Server
from tests.training.tiny_data import write_data
from training.data.captions import read_captions
from training.errors import ScoringError
from training.evaluation.captioning import caption_with_engine
from training.evaluation.served import KEY_VARIABLE, caption_with_server, key_for


def test_server_archive_and_checkpoint_caption_alike(
    server: Server,
    archive: Path,
    captioner: Captioner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    photos = read_captions(write_data(tmp_path, [[f"caption {index}"] for index in range(12)]), "dev")
    url = server.config.inference.url
    broken = photos.names[5]
    (photos.images / broken).write_bytes(b"no photo")
    over_rest = caption_with_server(url, "tiny", key_for(url, server.root), photos)
    here = caption_with_engine(captioner, photos, captioner.options)
    with open_archive(archive) as (unpacked, options):
        from_archive = caption_with_engine(unpacked, photos, options)
    assert over_rest.captions == here.captions == from_archive.captions
    assert len(set(here.captions.values())) > 1
    assert over_rest.failures.keys() == here.failures.keys() == from_archive.failures.keys() == {15}
    assert over_rest.failures[15].startswith("415: the data is no photo")


def test_torchserves_refusals_end_an_evaluation(server: Server, tmp_path: Path) -> None:
    photos = read_captions(write_data(tmp_path), "dev")
    url = server.config.inference.url
    with pytest.raises(ScoringError, match=r"refuses \(404\): Model not found: other"):
        caption_with_server(url, "other", server.key, photos)
    with pytest.raises(ScoringError, match=r"refuses \(400\): "):
        caption_with_server(url, "tiny", lambda: "wrong", photos)
