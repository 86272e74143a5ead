"""DELETE /images/{id} over HTTP, on a real MongoDB and RabbitMQ."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from services.storer.housekeeping import Housekeeping
from shared.dead_letters import DeadLetters
from tests.api import Api, id_of, running_api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.blobs import Blobs
    from shared.mongo import Mongo

pytestmark = pytest.mark.anyio

URL = "https://example.org/cat.jpg"
ID = id_of(URL)
OWN = f"/images/{ID}"
PAGE, OTHER_PAGE = "https://example.org/gallery", "https://example.org/other"
ON_PAGE = [f"https://cdn.example.org/{number}.jpg" for number in range(3)]
AT_ONCE = timedelta(seconds=-1)


@pytest.fixture
async def api(mongo_url: str, amqp_url: str) -> AsyncIterator[Api]:
    async with running_api(mongo_url, amqp_url) as api:
        yield api


async def left(api: Api) -> set[str]:
    """The URLs of all images there are."""
    return {image["source_url"] for image in (await api.client.get("/images?limit=500")).json()["items"]}


async def look(api: Api, url: str) -> dict[str, Any]:
    found: dict[str, Any] = (await api.client.get(f"/images/{id_of(url)}")).json()
    return found


async def delete(api: Api, url: str, query: str = "") -> int:
    return (await api.client.delete(f"/images/{id_of(url)}{query}")).status_code


async def sweep(mongo: Mongo, blobs: Blobs) -> None:
    """Housekeeping, as if hours had passed."""
    housekeeping = Housekeeping(mongo, DeadLetters(mongo, blobs), unreferenced_for=AT_ONCE, orphaned_for=AT_ONCE)
    for _ in range(3):
        await housekeeping.sweep()


async def test_a_deleted_image_is_gone_with_its_copies(api: Api, mongo: Mongo, blobs: Blobs) -> None:
    await api.store(URL, b"former")
    await api.client.put("/images", json={"url": URL})
    await api.fetched(ID, b"bytes")
    answer = await api.client.delete(OWN)
    assert (answer.status_code, answer.content) == (204, b"")
    for path in (OWN, f"{OWN}/content", f"{OWN}/versions"):
        assert (await api.client.get(path)).json()["type"] == "/problems/unknown-image"
    assert await left(api) == set()
    assert (await api.client.get("/images", params={"url": URL})).status_code == 404
    await sweep(mongo, blobs)
    assert [await mongo[name].count_documents({}) for name in ("fs.files", "fs.chunks")] == [0, 0]


async def test_it_can_be_deleted_once(api: Api) -> None:
    await api.store(URL, b"bytes")
    statuses = await asyncio.gather(*(delete(api, URL) for _ in range(5)))
    assert 204 in statuses
    again = await api.client.delete(OWN)
    assert (again.status_code, again.json()["type"]) == (404, "/problems/unknown-image")


@pytest.mark.parametrize("image", ["x", "a" * 26, "A" * 26, "$where", "%00", "..%2f", "a" * 5000])
async def test_an_unknown_id_is_not_found(api: Api, image: str) -> None:
    for query in ("", "?images=true"):
        answer = await api.client.delete(f"/images/{image}{query}")
        assert (answer.status_code, answer.json()["type"]) in {(404, "/problems/unknown-image"), (404, "/problems/not-found")}


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("images=yes", "images"),
        ("images=", "images"),
        ("images=TRUE", "images"),
        ("image=true", "image"),
        ("images=true&images=true", "images"),
        ("images[$ne]=true", "images[$ne]"),
    ],
)
async def test_a_bad_parameter_deletes_nothing(api: Api, query: str, name: str) -> None:
    await api.store(URL, b"bytes")
    answer = await api.client.delete(f"{OWN}?{query}")
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (400, name)
    assert (await api.client.get(f"{OWN}/content")).content == b"bytes"


async def test_submitted_again_it_is_a_new_life_that_late_outcomes_of_the_old_one_do_not_touch(api: Api) -> None:
    await api.client.post("/images", json={"url": URL})
    old = await api.revision(ID)
    assert await delete(api, URL) == 204
    await api.fetched(ID, b"while there is nothing", revision=old)
    assert await left(api) == set()
    answer = await api.client.post("/images", json={"url": URL})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert await api.revision(ID) != old
    before = await api.parts.catalog.get(ID)
    await api.fetched(ID, b"of the old life", revision=old)
    await api.unchanged(ID, revision=old)
    await api.delayed(ID, revision=old)
    await api.failed(ID, revision=old)
    await api.scanned(ID, ON_PAGE, revision=old)
    assert (await api.parts.catalog.get(ID), await left(api)) == (before, {URL})
    await api.fetched(ID, b"of the new life")
    assert (await api.client.get(f"{OWN}/content")).content == b"of the new life"
    assert (await api.client.get(f"{OWN}/versions")).json()["items"] == []


async def test_bytes_that_another_image_has_too_stay_readable(api: Api, mongo: Mongo, blobs: Blobs) -> None:
    await api.store(URL, b"the same bytes")
    other = await api.store("https://example.org/copy.jpg", b"the same bytes")
    assert await mongo["fs.files"].count_documents({}) == 1
    assert await delete(api, URL) == 204
    await sweep(mongo, blobs)
    assert (await api.client.get(f"{other}/content")).content == b"the same bytes"
    assert await delete(api, "https://example.org/copy.jpg") == 204
    await sweep(mongo, blobs)
    assert await mongo["fs.chunks"].count_documents({}) == 0


async def test_bytes_of_which_another_image_has_a_version_stay_readable(api: Api, mongo: Mongo, blobs: Blobs) -> None:
    await api.store(URL, b"the same bytes")
    other = await api.store("https://example.org/copy.jpg", b"the same bytes")
    await api.client.put("/images", json={"url": "https://example.org/copy.jpg"})
    await api.fetched(id_of("https://example.org/copy.jpg"), b"others")
    assert await delete(api, URL) == 204
    await sweep(mongo, blobs)
    [version] = (await api.client.get(f"{other}/versions")).json()["items"]
    assert (await api.client.get(version["content"])).content == b"the same bytes"


async def test_the_images_of_a_deleted_page_stay_and_belong_to_it_no_more(api: Api) -> None:
    await api.expand(PAGE, ON_PAGE)
    await api.expand(OTHER_PAGE, ON_PAGE[:1])
    for query in ("", "?images=false"):
        assert await delete(api, PAGE, query) == (404 if query else 204)
    assert await left(api) == {OTHER_PAGE, *ON_PAGE}
    assert (await look(api, ON_PAGE[1]))["pages"] == []
    assert (await look(api, ON_PAGE[0]))["pages"] == [f"/images/{id_of(OTHER_PAGE)}"]
    assert (await api.client.get("/images", params={"page": id_of(PAGE)})).json()["items"] == []


@pytest.mark.parametrize("how", ["post", "put", "batch", "before"])
async def test_a_page_takes_its_images_along_if_told_to_but_none_that_somebody_asked_for(api: Api, how: str) -> None:
    asked = ON_PAGE[1]
    if how == "before":
        await api.client.post("/images", json={"url": asked})
    await api.expand(PAGE, ON_PAGE)
    if how == "post":
        assert (await api.client.post("/images", json={"url": asked})).status_code == 409
    elif how == "put":
        assert (await api.client.put("/images", json={"url": asked})).status_code == 202
    elif how == "batch":
        await api.client.post("/batches", json={"urls": [asked]})
    assert await delete(api, PAGE, "?images=true") == 204
    assert await left(api) == {asked}


async def test_a_refresh_of_what_a_page_brought_counts_as_asked_for_when_it_was_stored_too(api: Api) -> None:
    await api.expand(PAGE, ON_PAGE)
    await api.fetched(id_of(ON_PAGE[0]), b"bytes")
    await api.client.put("/images", json={"url": ON_PAGE[0]})
    assert await delete(api, PAGE, "?images=true") == 204
    assert await left(api) == {ON_PAGE[0]}


async def test_an_image_that_another_page_has_too_stays_until_that_goes(api: Api) -> None:
    await api.expand(PAGE, ON_PAGE)
    await api.expand(OTHER_PAGE, ON_PAGE[:1])
    assert await delete(api, PAGE, "?images=true") == 204
    assert await left(api) == {OTHER_PAGE, ON_PAGE[0]}
    assert await delete(api, OTHER_PAGE, "?images=true") == 204
    assert await left(api) == set()


async def test_an_image_that_left_the_page_stays(api: Api) -> None:
    await api.expand(PAGE, ON_PAGE)
    await api.client.put("/images", json={"url": PAGE})
    await api.scanned(id_of(PAGE), ON_PAGE[1:])
    assert await delete(api, PAGE, "?images=true") == 204
    assert await left(api) == {ON_PAGE[0]}


async def test_of_an_image_images_means_nothing(api: Api) -> None:
    await api.expand(PAGE, ON_PAGE)
    assert await delete(api, ON_PAGE[0], "?images=true") == 204
    assert await left(api) == {PAGE, *ON_PAGE[1:]}
    assert (await look(api, PAGE))["page"]["images"]["queued"] == 2


async def test_a_scan_that_comes_after_the_page_is_deleted_leaves_nothing(api: Api) -> None:
    await api.client.post("/images", json={"url": PAGE})
    revision = await api.revision(id_of(PAGE))
    assert await delete(api, PAGE, "?images=true") == 204
    await api.scanned(id_of(PAGE), ON_PAGE, revision=revision)
    assert await left(api) == set()
