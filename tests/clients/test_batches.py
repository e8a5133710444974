"""Many photos: how they are grouped, and errors in their places."""

from pathlib import Path
from typing import Any

import pytest
from captioner_client import (
    BadRequest,
    Busy,
    ImageTooLarge,
    NotAnImage,
    PhotoError,
    PhotoUnreadable,
    Reply,
    bodies,
)

from tests.clients.conftest import SOON, Asker
from tests.clients.misbehaving import Misbehaving, error, photo_reply, says

MODEL = {"name": "captioner", "version": "1.0"}


def told(replies: list[Reply | PhotoError]) -> list[str | type[PhotoError]]:
    return [type(one) if isinstance(one, PhotoError) else one.caption for one in replies]


def grouped(server: Misbehaving) -> list[list[str]]:
    return [one.photos for one in server.received]


def predictions(*replies: dict[str, Any]) -> dict[str, Any]:
    return {"predictions": replies, "model": MODEL}


def test_photos_go_eight_to_a_request_and_come_back_in_order(server: Misbehaving, asker: Asker) -> None:
    names = [f"photo {n}" for n in range(18)]
    replies = asker.caption_many(server.url, (name.encode() for name in names), num_beams=2, prompt="a")
    assert told(replies) == names
    assert grouped(server) == [names[:8], names[8:16], names[16:]]
    assert all(one.options == {"num_beams": 2, "prompt": "a"} for one in server.received)
    assert all(isinstance(reply, Reply) and reply.model.version == "1.0" for reply in replies)


def test_a_server_may_take_fewer(server: Misbehaving, asker: Asker) -> None:
    asker.caption_many(server.url, [b"1", b"2", b"3", b"4", b"5"], photos_per_request=2)
    assert grouped(server) == [["1", "2"], ["3", "4"], ["5"]]


def test_heatmaps_are_asked_for_one_by_one(server: Misbehaving, asker: Asker) -> None:
    asker.caption_many(server.url, [b"1", b"2"], heatmaps=True, form="values")
    assert grouped(server) == [["1"], ["2"]]
    assert server.received[1].options == {"explain": True, "form": "values"}


def test_a_request_has_no_more_bytes_than_the_server_takes(
    server: Misbehaving, asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Base64 makes 4 characters of 3 bytes: 30 and 31 bytes have 40 and 44."""
    monkeypatch.setattr(bodies, "MOST_BYTES", 120)
    photos = ["a" * 30, "b" * 30, "c" * 30, "d" * 31, "e" * 30, "f" * 30, "g" * 900, "h"]
    assert told(asker.caption_many(server.url, [photo.encode() for photo in photos])) == photos
    assert grouped(server) == [photos[:3], photos[3:5], photos[5:6], photos[6:7], photos[7:]]


def test_an_error_stands_in_its_photos_place(server: Misbehaving, asker: Asker) -> None:
    broken = error(415, "not_an_image", "instances[1] is broken", "instances[1]")
    server.plans = [says(200, predictions(photo_reply("1"), broken, photo_reply("3")))]
    replies = asker.caption_many(server.url, [b"1", b"2", b"3"])
    assert told(replies) == ["1", NotAnImage, "3"]
    failed = replies[1]
    assert isinstance(failed, NotAnImage)
    assert (failed.status, failed.type, failed.field) == (415, "not_an_image", "instances[1]")
    assert str(failed) == "instances[1] is broken"


def test_so_it_does_where_all_photos_failed(server: Misbehaving, asker: Asker) -> None:
    failed = error(415, "not_an_image")
    server.plans = [says(415, predictions(failed, failed)), says(415, failed)]
    assert told(asker.caption_many(server.url, [b"1", b"2", b"3"], photos_per_request=2)) == [NotAnImage] * 3


@pytest.mark.parametrize("kind", ["image_too_large", "reply_too_large", "busy"])
def test_what_had_no_room_in_company_is_sent_alone(kind: str, server: Misbehaving, asker: Asker) -> None:
    server.plans = [says(200, predictions(photo_reply("1"), error(422, kind), photo_reply("3")))]
    assert told(asker.caption_many(server.url, [b"1", b"2", b"3"])) == ["1", "2", "3"]
    assert grouped(server) == [["1", "2", "3"], ["2"]]


def test_so_are_all_where_the_whole_request_is_too_large(server: Misbehaving, asker: Asker) -> None:
    server.plans = [says(413), says(413)]
    assert told(asker.caption_many(server.url, [b"1", b"2"])) == [ImageTooLarge, "2"]


def test_a_busy_server_is_asked_again(server: Misbehaving, asker: Asker) -> None:
    busy = says(503, error(503, "busy", "send it again"))
    server.plans = [busy, busy]
    assert asker.caption(server.url, b"1", heatmaps=True).caption == "1"
    server.plans = [busy] * 4
    assert told(asker.caption_many(server.url, [b"1", b"2"], heatmaps=True)) == [Busy, "2"]
    assert len(server.received) == 3 + 1 + SOON.most + 1


def test_files_are_read_and_those_that_cannot_be_cost_the_others_nothing(
    server: Misbehaving, asker: Asker, tmp_path: Path
) -> None:
    (tmp_path / "1.jpg").write_bytes(b"1")
    paths = [tmp_path / "1.jpg", tmp_path / "none.jpg", tmp_path]
    replies = asker.caption_many(server.url, paths)
    assert told(replies) == ["1", PhotoUnreadable, PhotoUnreadable]
    assert "none.jpg cannot be read: No such file or directory" in str(replies[1])
    assert asker.caption(server.url, paths[0]).caption == "1"
    with pytest.raises(PhotoUnreadable):
        asker.caption(server.url, paths[1])


def test_what_concerns_the_whole_request_is_raised(server: Misbehaving, asker: Asker) -> None:
    refusal = error(400, "bad_request", "instances: holds 2 photos; at most 1 are allowed", "instances")
    server.plans = [says(400, refusal)]
    with pytest.raises(BadRequest, match="at most 1 are allowed"):
        asker.caption_many(server.url, [b"1", b"2"])


def test_no_photos_no_request(server: Misbehaving, asker: Asker) -> None:
    assert asker.caption_many(server.url, []) == []
    assert server.received == []
