"""From a URL to a copy and back, through every service."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from typing import TYPE_CHECKING

import pytest

from tests.origin import body, image, sequence, status

if TYPE_CHECKING:
    from tests.e2e.conftest import Pipeline
    from tests.origin import Origin, Request

pytestmark = pytest.mark.anyio


async def test_an_image_arrives_as_it_was(pipeline: Pipeline, origin: Origin) -> None:
    picture = image("JPEG", (64, 48))
    location = await pipeline.post(origin.on("/a.jpg", body(picture, "image/jpeg")))
    found = await pipeline.settled(location)
    assert found["status"] == "stored"
    assert (found["format"], found["content_type"], found["width"], found["height"]) == ("jpeg", "image/jpeg", 64, 48)
    assert (found["size"], found["sha256"]) == (len(picture), hashlib.sha256(picture).hexdigest())
    assert [attempt["reason"] for attempt in found["attempts"]] == [None]
    assert await pipeline.content(location) == picture
    listed = (await pipeline.client.get("/images")).json()
    assert listed["items"] == [{name: value for name, value in found.items() if name not in {"pages", "same_bytes"}}]


async def test_fifty_clients_who_post_one_url_at_once_make_one_image(pipeline: Pipeline, origin: Origin) -> None:
    url = origin.on("/a.png", body(image("PNG"), "image/png"))
    answers = await asyncio.gather(*(pipeline.client.post("/images", json={"url": url}) for _ in range(50)))
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 49
    [accepted] = [answer for answer in answers if answer.status_code == 202]
    location = accepted.headers["location"]
    assert all(answer.json()["image"].endswith(location) for answer in answers if answer.status_code == 409)
    await pipeline.settled(location)
    assert origin.hits["/a.png"] == 1


async def test_what_is_gone_fails_at_once_and_says_why(pipeline: Pipeline, origin: Origin) -> None:
    location = await pipeline.post(origin.on("/gone", status(404)))
    found = await pipeline.settled(location)
    assert found["status"] == "failed"
    assert found["error"]["reason"] == "http_status"
    assert "404" in found["error"]["detail"]
    assert origin.hits["/gone"] == 1
    answer = await pipeline.client.get(f"{location}/content")
    assert answer.status_code == 409


async def test_an_origin_that_asks_to_wait_is_asked_no_earlier_and_the_history_tells(pipeline: Pipeline, origin: Origin) -> None:
    asked: list[float] = []
    busy = sequence(status(503, retry_after="1"), status(503, retry_after="1"), body(image("PNG"), "image/png"))

    async def noted(request: Request, writer: asyncio.StreamWriter) -> None:
        asked.append(time.monotonic())
        await busy(request, writer)

    found = await pipeline.settled(await pipeline.post(origin.on("/busy", noted)))
    assert found["status"] == "stored"
    assert [attempt["reason"] for attempt in found["attempts"]] == ["http_status", "http_status", None]
    assert all(later - earlier >= 1.0 for earlier, later in itertools.pairwise(asked))
    assert len(asked) == 3


async def test_an_origin_that_is_down_is_tried_after_each_delay_and_then_given_up(pipeline: Pipeline, origin: Origin) -> None:
    location = await pipeline.post(origin.on("/down", status(500)))
    delayed, announced = set(), False
    deadline = time.monotonic() + 20
    while (found := (await pipeline.client.get(location)).json())["status"] in {"queued", "delayed"}:
        assert time.monotonic() < deadline
        delayed.add(found["status"])
        # The history and the next attempt are written one after the other: a reader may come in between.
        announced = announced or (found["status"] == "delayed" and found["next_attempt_at"] > found["attempts"][-1]["at"])
    assert delayed >= {"delayed"}
    assert announced
    assert found["status"] == "failed"
    assert [attempt["number"] for attempt in found["attempts"]] == [1, 2, 3, 4]
    assert found["next_attempt_at"] is None
    assert origin.hits["/down"] == 4


async def test_two_urls_with_the_same_bytes_share_one_file(pipeline: Pipeline, origin: Origin) -> None:
    picture = image("PNG")
    locations = [await pipeline.post(origin.on(path, body(picture, "image/png"))) for path in ("/one", "/two")]
    found = [await pipeline.settled(location) for location in locations]
    assert found[0]["sha256"] == found[1]["sha256"]
    assert [await pipeline.content(location) for location in locations] == [picture, picture]


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "ICO"])
async def test_every_format_of_the_list_is_stored_as_what_it_is_whatever_the_origin_says(pipeline: Pipeline, origin: Origin, name: str) -> None:
    picture = image(name, (32, 32))
    found = await pipeline.settled(await pipeline.post(origin.on("/x.bin", body(picture, "text/plain"))))
    assert (found["status"], found["format"], found["width"], found["height"]) == ("stored", name.lower(), 32, 32), found


async def test_an_image_of_many_chunks_arrives_as_it_was(pipeline: Pipeline, origin: Origin) -> None:
    picture = image("BMP", (2000, 1500))
    assert len(picture) > 8 * 1024 * 1024
    location = await pipeline.post(origin.on("/large.bmp", body(picture, "image/bmp")))
    found = await pipeline.settled(location)
    assert (found["status"], found["size"]) == ("stored", len(picture))
    assert await pipeline.content(location) == picture
    middle = await pipeline.client.get(f"{location}/content", headers={"range": "bytes=3000000-3000999"})
    assert middle.content == picture[3_000_000:3_001_000]
