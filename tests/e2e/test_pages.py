"""Pages through the whole pipeline: from a page's URL to its images, and back to nothing."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from services.storer.housekeeping import Housekeeping
from shared.blobs import Blobs
from shared.dead_letters import DeadLetters
from shared.mongo import Mongo
from tests import galleries
from tests.origin import body, delayed, gzip, image, redirect, sequence, status
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.e2e.conftest import Pipeline
    from tests.origin import Behaviour, Origin, Request

pytestmark = pytest.mark.anyio

AT_ONCE = timedelta(seconds=-1)
ON_THE_WAY = ("queued", "delayed")


@pytest.fixture
def mongo(mongo_url: str) -> Iterator[Mongo]:
    mongo = Mongo(mongo_url, timeout=10)
    yield mongo
    mongo.close()


def html(*sources: str, more: str = "") -> Behaviour:
    images = "".join(f'<img src="{source}">' for source in sources)
    return body(f"<!DOCTYPE html><title>A page</title>{images}{more}".encode(), "text/html; charset=utf-8")


def picture(seed: int = 0, kind: str = "PNG") -> Behaviour:
    return body(image(kind, (16, 16), seed), f"image/{kind.lower()}")


def validated(etag: str, answer: Callable[[str], Behaviour]) -> Behaviour:
    """An answer with an ETag, or 304 to who has it."""

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        fresh = request.headers.get("if-none-match") == etag
        await (status(304, etag=etag) if fresh else answer(etag))(request, writer)

    return behave


def validated_picture(seed: int = 0) -> Behaviour:
    return validated(f'"{seed}"', lambda etag: body(image("PNG", (16, 16), seed), "image/png", etag=etag))


def validated_html(*sources: str) -> Behaviour:
    text = "".join(f"<img src={source}>" for source in sources).encode()
    return validated(f'"{len(sources)}"', lambda etag: body(b"<!DOCTYPE html>" + text, "text/html", etag=etag))


async def expanded(pipeline: Pipeline, location: str, *, seconds: float = 20.0) -> dict[str, Any]:
    """The page, once nothing more will happen to it or its images."""

    async def ask() -> dict[str, Any] | None:
        page: dict[str, Any] = (await pipeline.client.get(location)).raise_for_status().json()
        busy = page["status"] in ON_THE_WAY or any(page["page"]["images"][word] for word in ON_THE_WAY)
        return None if busy else page

    page = await until(ask, seconds=seconds)
    assert page
    assert page["status"] == "expanded", page
    return page


async def refresh(pipeline: Pipeline, url: str) -> str:
    answer = await pipeline.client.put("/images", json={"url": url})
    assert answer.status_code == 202, answer.text
    return answer.headers["location"]


async def images_of(pipeline: Pipeline, page: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By the paths of their URLs."""
    listed = (await pipeline.client.get("/images", params={"page": page["id"], "limit": 500})).raise_for_status().json()
    return {"/" + found["source_url"].split("/", 3)[3]: found for found in listed["items"]}


# What is found


async def test_relative_urls_are_those_of_where_redirects_led(pipeline: Pipeline, origin: Origin) -> None:
    for path in ("/deep/er/near.png", "/deep/up.png", "/top.png", "/other/port.png"):
        origin.on(path, picture())
    origin.on("/deep/er/page", html("near.png", "../up.png", "/top.png", f"//{origin.address}:{origin.port}/other/port.png"))
    page = await expanded(pipeline, await pipeline.post(origin.on("/start", redirect("/deep/er/page"))))
    found = await images_of(pipeline, page)
    assert {path: one["status"] for path, one in found.items()} == dict.fromkeys(
        ["/deep/er/near.png", "/deep/up.png", "/top.png", "/other/port.png"], "stored"
    )
    assert page["source_url"] == origin.url("/start")


async def test_a_gallery_is_stored_whole(pipeline: Pipeline, origin: Origin) -> None:
    for number in range(1, 51):
        origin.on(f"/images/{number}.png", picture(number))
    url = origin.on("/gallery", body(galleries.gallery(50).encode(), "text/html"))
    page = await expanded(pipeline, await pipeline.post(url))
    assert (page["page"]["found"], page["page"]["skipped"], page["page"]["images"]["stored"]) == (50, 1, 50)
    assert all(origin.hits[f"/images/{number}.png"] == 1 for number in range(1, 51))
    for one in (await images_of(pipeline, page)).values():
        assert (await pipeline.client.get(one["links"]["self"])).json()["pages"] == [page["links"]["self"]]


async def test_only_public_addresses_are_taken_from_a_page_and_the_others_counted(pipeline: Pipeline, origin: Origin) -> None:
    private = ["http://127.0.0.1/a.png", "http://169.254.169.254/a.png", "http://[::1]/a.png", "http://10.0.0.1/a.png", "ftp://example.com/a.png"]
    page = await expanded(pipeline, await pipeline.post(origin.on("/page", html(origin.on("/a.png", picture()), *private))))
    assert (page["page"]["found"], page["page"]["refused"]) == (1, len(private))
    assert list(await images_of(pipeline, page)) == ["/a.png"]


async def test_a_page_on_a_page_is_an_image_that_is_none(pipeline: Pipeline, origin: Origin) -> None:
    inner = origin.on("/inner", html(origin.on("/a.png", picture())))
    page = await expanded(pipeline, await pipeline.post(origin.on("/outer", html(inner))))
    assert page["page"]["found"] == 1
    assert origin.hits["/a.png"] == 0, "only one level"


async def test_a_page_in_gzip_that_nobody_asked_for_is_refused(pipeline: Pipeline, origin: Origin) -> None:
    found = await pipeline.settled(await pipeline.post(origin.on("/page", gzip(b"<!DOCTYPE html><img src=/a.png>"))))
    assert (found["status"], found["error"]["reason"], found["page"]) == ("failed", "encoding", None)


async def test_a_page_that_is_too_large_is_refused(pipeline: Pipeline, origin: Origin) -> None:
    large = b"<!DOCTYPE html><img src=/a.png>" + b"<p>" * (pipeline.settings.max_page_bytes // 3)
    found = await pipeline.settled(await pipeline.post(origin.on("/page", body(large, "text/html"))))
    assert (found["status"], found["error"]["reason"]) == ("failed", "too_large")
    assert f"{len(large):,} bytes" in found["error"]["detail"]


@pytest.mark.timeout(180)
async def test_a_page_of_a_thousand_images(pipeline: Pipeline, origin: Origin, record_property: Callable[[str, object], None]) -> None:
    paths = [f"/{number}.png" for number in range(1001)]
    for number, path in enumerate(paths):
        origin.on(path, picture(number))
    started = time.monotonic()
    page = await expanded(pipeline, await pipeline.post(origin.on("/page", html(*paths))), seconds=120)
    took = time.monotonic() - started
    record_property("seconds", took)
    print(f"1,000 images of a page in {took:.1f} s")  # noqa: T201  (how long it took is worth knowing)
    assert (page["page"]["found"], page["page"]["beyond"], page["page"]["images"]["stored"]) == (1000, 1, 1000)
    assert sum(origin.hits[path] for path in paths) == 1000


async def test_one_image_on_twenty_pages_is_downloaded_once(pipeline: Pipeline, origin: Origin) -> None:
    logo = origin.on("/logo.png", delayed(0.2, picture()))
    urls = [origin.on(f"/page/{number}", html(logo)) for number in range(20)]
    locations = await asyncio.gather(*(pipeline.post(url) for url in urls))
    for location in locations:
        await expanded(pipeline, location)
    assert origin.hits["/logo.png"] == 1
    found = (await pipeline.client.get("/images", params={"url": logo})).json()
    assert len(found["pages"]) == 10
    assert set(found["pages"]) <= set(locations), "the newest ten are named"


async def test_a_page_in_a_batch(pipeline: Pipeline, origin: Origin) -> None:
    page_url = origin.on("/page", html("/a.png", "/b.png"))
    given = [page_url, origin.on("/a.png", picture(1)), origin.on("/gone", status(404))]
    origin.on("/b.png", picture(2))
    batch = (await pipeline.client.post("/batches", json={"urls": given})).json()

    async def complete() -> dict[str, Any] | None:
        found: dict[str, Any] = (await pipeline.client.get(batch["links"]["self"])).json()
        return found if found["completed_at"] else None

    found = await until(complete)
    assert found
    assert {word: count for word, count in found["images"].items() if count} == {"stored": 1, "failed": 1, "expanded": 1}
    page = await expanded(
        pipeline, (await pipeline.client.get("/images", params={"batch": batch["id"], "status": "expanded"})).json()["items"][0]["links"]["self"]
    )
    assert sorted(await images_of(pipeline, page)) == ["/a.png", "/b.png"]
    both = (await pipeline.client.get("/images", params={"batch": batch["id"], "page": page["id"]})).json()["items"]
    assert [one["source_url"] for one in both] == [given[1]]


# What is refreshed


async def test_a_refreshed_page_is_asked_for_conditionally_and_so_are_its_images(pipeline: Pipeline, origin: Origin) -> None:
    for number in range(3):
        origin.on(f"/{number}.png", validated_picture(number))
    url = origin.on("/page", validated_html("/0.png", "/1.png", "/2.png"))
    before = await expanded(pipeline, await pipeline.post(url))
    copies = await images_of(pipeline, before)
    await refresh(pipeline, url)

    async def asked() -> bool:
        return len(origin.requests) >= 8

    await until(asked)  # a page that hasn't changed says so a moment before its images are asked for again
    after = await expanded(pipeline, before["links"]["self"])
    second = {request.path: request.headers.get("if-none-match") for request in origin.requests[4:]}
    assert second == {"/page": '"3"', "/0.png": '"0"', "/1.png": '"1"', "/2.png": '"2"'}
    assert len(origin.requests) == 8
    assert after["checked_at"] > before["checked_at"]
    assert after["page"]["scanned_at"] == before["page"]["scanned_at"]
    for path, one in (await images_of(pipeline, after)).items():
        assert (one["status"], one["sha256"]) == ("stored", copies[path]["sha256"])
        assert one["checked_at"] > copies[path]["checked_at"]
        assert (await pipeline.client.get(one["links"]["versions"])).json()["items"] == []


async def test_a_refreshed_page_lets_go_of_what_left_it_and_takes_what_came(pipeline: Pipeline, origin: Origin) -> None:
    for number in range(3):
        origin.on(f"/{number}.png", validated_picture(number))
    url = origin.on("/page", sequence(html("/0.png", "/1.png"), html("/1.png", "/2.png")))
    before = await expanded(pipeline, await pipeline.post(url))
    left = (await images_of(pipeline, before))["/0.png"]
    origin.on("/1.png", validated_picture(7))
    await refresh(pipeline, url)
    found = await images_of(pipeline, await expanded(pipeline, before["links"]["self"]))
    assert {path: one["status"] for path, one in found.items()} == {"/1.png": "stored", "/2.png": "stored"}
    assert len((await pipeline.client.get(found["/1.png"]["links"]["versions"])).json()["items"]) == 1
    alone = (await pipeline.client.get(left["links"]["self"])).json()
    assert (alone["status"], alone["pages"], alone["checked_at"]) == ("stored", [], left["checked_at"])


async def test_a_page_that_turned_into_an_image_lets_go_of_its_images(pipeline: Pipeline, origin: Origin) -> None:
    url = origin.on("/page", sequence(html("/a.png"), picture(9)))
    origin.on("/a.png", picture())
    page = await expanded(pipeline, await pipeline.post(url))
    [one] = (await images_of(pipeline, page)).values()
    location = await refresh(pipeline, url)
    found = await pipeline.settled(location)
    assert (found["status"], found["page"], found["links"]["images"]) == ("stored", None, None)
    assert await pipeline.content(location) == image("PNG", (16, 16), 9)
    assert (await pipeline.client.get("/images", params={"page": page["id"]})).json()["items"] == []
    assert (await pipeline.client.get(one["links"]["self"])).json()["pages"] == []


async def test_an_image_that_turned_into_a_page_keeps_its_copy_and_says_so(pipeline: Pipeline, origin: Origin) -> None:
    url = origin.on("/image", sequence(picture(), html("/a.png")))
    location = await pipeline.post(url)
    await pipeline.settled(location)
    await refresh(pipeline, url)
    found = await pipeline.settled(location)
    assert (found["status"], found["error"]["reason"], found["page"]) == ("failed", "not_an_image", None)
    assert await pipeline.content(location) == image("PNG", (16, 16), 0)
    assert len((await pipeline.client.get("/images")).json()["items"]) == 1


async def test_a_page_that_is_gone_keeps_its_images(pipeline: Pipeline, origin: Origin) -> None:
    url = origin.on("/page", sequence(html("/a.png"), status(404)))
    origin.on("/a.png", picture())
    page = await expanded(pipeline, await pipeline.post(url))
    found = await pipeline.settled(await refresh(pipeline, url))
    assert (found["status"], found["error"]["reason"], found["page"]["found"]) == ("failed", "http_status", 1)
    assert list(await images_of(pipeline, page)) == ["/a.png"]
    assert origin.hits["/a.png"] == 1


# What is deleted


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", range(4))
async def test_a_page_deleted_while_it_is_expanded_leaves_nothing_behind(pipeline: Pipeline, origin: Origin, mongo: Mongo, seed: int) -> None:
    dice = random.Random(seed)
    paths = [f"/{number}.png" for number in range(60)]
    for number, path in enumerate(paths):
        origin.on(path, delayed(dice.uniform(0, 0.1), picture(number)))
    for life in range(5):
        location = await pipeline.post(origin.on(f"/page/{life}", html(*paths)))
        await asyncio.sleep(dice.uniform(0, 0.4))  # at any moment, which is the point
        answer = await pipeline.client.delete(location, params={"images": "true"})
        assert answer.status_code == 204
        assert (await pipeline.client.get(location)).status_code == 404
    await until(partial(_nothing_under_way, mongo, origin))
    left = await mongo["images"].find({}, {"url": 1, "in": 1, "status": 1}).to_list(None)
    assert left == []
    await _swept(mongo)


async def _nothing_under_way(mongo: Mongo, origin: Origin) -> bool:
    """That nobody asks the origin any more for a while, and nothing is left on its way."""
    asked = len(origin.requests)
    await asyncio.sleep(1)
    return len(origin.requests) == asked and not await mongo["images"].count_documents({"status": {"$in": list(ON_THE_WAY)}})


async def _swept(mongo: Mongo, collections: Sequence[str] = ("fs.files", "fs.chunks")) -> None:
    housekeeping = Housekeeping(mongo, DeadLetters(mongo, Blobs(mongo)), unreferenced_for=AT_ONCE, orphaned_for=AT_ONCE)
    while any((await housekeeping.sweep()).values()):
        pass
    assert [await mongo[name].count_documents({}) for name in collections] == [0] * len(collections)
