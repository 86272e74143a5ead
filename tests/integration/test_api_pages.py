"""Pages over HTTP, on a real MongoDB: a page's URL works like an image's, and its images are images of their own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from shared import topology
from tests.api import Api, id_of, rabbitmq_says, running_api, taken
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

PAGE = "https://example.org/gallery"
PAGE_ID = id_of(PAGE)
IMAGES = [f"https://cdn.example.org/{number}.jpg" for number in range(5)]


@pytest.fixture
async def api(mongo_url: str, amqp_url: str) -> AsyncIterator[Api]:
    async with running_api(mongo_url, amqp_url) as api:
        yield api


async def look(api: Api, url: str) -> dict[str, Any]:
    found: dict[str, Any] = (await api.client.get(f"/images/{id_of(url)}")).json()
    return found


async def urls_of(api: Api, path: str) -> list[str]:
    """The URLs of the images of a list, through all of its pages."""
    urls = []
    following: str | None = path
    while following:
        answer = (await api.client.get(following)).json()
        urls += [image["source_url"] for image in answer["items"]]
        following = answer["next"]
    return urls


async def test_before_it_is_looked_at_a_page_is_like_any_image(api: Api) -> None:
    await api.client.post("/images", json={"url": PAGE})
    found = (await api.client.get("/images", params={"url": PAGE})).json()
    assert (found["id"], found["status"], found["page"]) == (PAGE_ID, "queued", None)
    assert (await api.client.get("/images", params={"page": PAGE_ID})).json() == {"items": [], "next": None}


async def test_its_resource_says_what_was_found_and_how_far_that_is(api: Api) -> None:
    await api.client.post("/images", json={"url": PAGE})
    await api.scanned(PAGE_ID, IMAGES, skipped=3, refused=2, beyond=1)
    await api.fetched(id_of(IMAGES[0]), b"bytes")
    await api.failed(id_of(IMAGES[1]))
    page = await look(api, PAGE)
    assert (page["status"], page["links"]["images"], page["links"]["content"]) == ("expanded", f"/images?page={PAGE_ID}", None)
    facts = page["page"]
    assert datetime.fromisoformat(facts.pop("scanned_at")).tzinfo
    counts = {"queued": 3, "delayed": 0, "stored": 1, "failed": 1, "expanded": 0}
    assert facts == {"found": 5, "skipped": 3, "refused": 2, "beyond": 1, "images": counts}
    image = await look(api, IMAGES[0])
    assert (image["status"], image["pages"], image["page"]) == ("stored", [f"/images/{PAGE_ID}"], None)
    answer = await api.client.get(f"/images/{PAGE_ID}/content")
    assert (answer.status_code, answer.json()["status_of_image"]) == (409, "expanded")


@pytest.mark.parametrize("limit", [1, 2, 5, 500])
async def test_its_url_lists_its_images_as_its_id_does(api: Api, limit: int) -> None:
    await api.client.post("/images", json={"url": "https://example.org/another"})
    await api.expand(PAGE, IMAGES)
    by_id = await urls_of(api, f"/images?page={PAGE_ID}&limit={limit}")
    assert sorted(by_id) == IMAGES
    assert await urls_of(api, f"/images?limit={limit}&url=" + quote(PAGE, safe="")) == by_id
    answer = (await api.client.get("/images", params={"url": "HTTPS://EXAMPLE.org/gallery#fragment"})).json()
    assert [image["source_url"] for image in answer["items"]] == by_id


async def test_its_list_can_be_narrowed(api: Api) -> None:
    await api.expand(PAGE, IMAGES)
    await api.store("https://cdn.example.org/of-no-page.jpg", b"bytes")
    await api.fetched(id_of(IMAGES[2]), b"bytes")
    where = {"url": PAGE, "status": "stored", "host": "cdn.example.org", "format": "jpeg", "limit": "1"}
    answer = (await api.client.get("/images", params=where)).json()
    assert ([image["source_url"] for image in answer["items"]], answer["next"]) == ([IMAGES[2]], None)
    assert (await api.client.get("/images", params={"url": PAGE, "status": "failed"})).json()["items"] == []


@pytest.mark.parametrize(
    ("url", "given", "name"), [(PAGE, {"page": PAGE_ID}, "page"), (IMAGES[0], {"limit": "5"}, "limit"), (PAGE, {"host": ""}, "host")]
)
async def test_a_parameter_that_makes_no_sense_there_is_named(api: Api, url: str, given: dict[str, str], name: str) -> None:
    await api.expand(PAGE, IMAGES)
    answer = await api.client.get("/images", params={"url": url, **given})
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (400, name)


async def test_an_image_is_one_image_however_many_pages_have_it(api: Api) -> None:
    await api.expand(PAGE, IMAGES)
    await api.expand("https://example.org/two", [*IMAGES[3:], "https://example.org/only-here.jpg"])
    image = await look(api, IMAGES[4])
    assert image["pages"] == [f"/images/{id_of('https://example.org/two')}", f"/images/{PAGE_ID}"]
    assert len((await api.client.get("/images")).json()["items"]) == 2 + 5 + 1


async def test_a_page_with_itself_and_with_nothing_on_it(api: Api) -> None:
    await api.expand(PAGE, [PAGE, "no URL", "http:///x"])
    page = await look(api, PAGE)
    assert (page["status"], page["page"]["images"]["expanded"], page["pages"]) == ("expanded", 0, [])
    assert (await api.client.get("/images", params={"url": PAGE})).json() == {"items": [], "next": None}


async def test_a_refreshed_page_takes_its_images_anew_and_lets_go_of_those_that_left(api: Api, amqp_url: str) -> None:
    await rabbitmq_says(api, "ok")
    await api.expand(PAGE, IMAGES[:3])
    for url in IMAGES[:3]:
        await api.fetched(id_of(url), url.encode())
    before = {url: await api.revision(id_of(url)) for url in IMAGES[:3]}

    async def dispatched() -> bool:
        return not await api.parts.catalog.undispatched(before=datetime.now(UTC) + timedelta(minutes=1), limit=1)

    await until(dispatched)
    await taken(amqp_url, topology.DOWNLOAD_REQUESTED.name)
    await api.client.put("/images", json={"url": PAGE})
    assert (await look(api, PAGE))["status"] == "queued"
    assert sorted(await urls_of(api, f"/images?page={PAGE_ID}")) == IMAGES[:3], "still listed meanwhile"
    await api.scanned(PAGE_ID, IMAGES[1:4])
    assert sorted(await urls_of(api, f"/images?page={PAGE_ID}")) == IMAGES[1:4]
    left = await look(api, IMAGES[0])
    assert (left["status"], left["pages"], await api.revision(id_of(IMAGES[0]))) == ("stored", [], before[IMAGES[0]])
    assert [await api.revision(id_of(url)) for url in IMAGES[1:3]] == [before[url] + 1 for url in IMAGES[1:3]]
    await until(dispatched)
    asked = sorted(request.url for request in await taken(amqp_url, topology.DOWNLOAD_REQUESTED.name))
    assert asked == sorted([PAGE, *IMAGES[1:4]])
    assert (await look(api, PAGE))["page"]["images"]["queued"] == 3


async def test_a_page_that_has_not_changed_is_still_one(api: Api) -> None:
    await api.expand(PAGE, IMAGES)
    await api.client.put("/images", json={"url": PAGE})
    await api.unchanged(PAGE_ID)
    page = await look(api, PAGE)
    assert (page["status"], page["page"]["found"]) == ("expanded", 5)


async def test_a_page_that_fails_to_load_keeps_its_images(api: Api) -> None:
    await api.expand(PAGE, IMAGES)
    await api.client.put("/images", json={"url": PAGE})
    await api.failed(PAGE_ID)
    page = await look(api, PAGE)
    assert (page["status"], page["error"]["reason"], page["page"]["images"]["queued"]) == ("failed", "http_status", 5)
    assert sorted(await urls_of(api, "/images?url=" + quote(PAGE, safe=""))) == IMAGES


async def test_a_url_that_gave_an_image_and_gives_a_page_now_keeps_its_copy(api: Api) -> None:
    await api.store(PAGE, b"bytes")
    await api.client.put("/images", json={"url": PAGE})
    failed = await api.scanned(PAGE_ID, IMAGES)
    assert failed
    image = await look(api, PAGE)
    assert (image["status"], image["error"]["reason"], image["page"]) == ("failed", "not_an_image", None)
    assert (await api.client.get(f"/images/{PAGE_ID}/content")).content == b"bytes"
    assert len((await api.client.get("/images")).json()["items"]) == 1


async def test_a_url_that_gave_a_page_and_gives_an_image_now_is_an_image(api: Api) -> None:
    await api.expand(PAGE, IMAGES)
    await api.client.put("/images", json={"url": PAGE})
    await api.fetched(PAGE_ID, b"bytes")
    image = await look(api, PAGE)
    assert (image["status"], image["page"], image["links"]["images"]) == ("stored", None, None)
    assert (await api.client.get("/images", params={"url": PAGE})).json()["id"] == PAGE_ID


async def test_a_scan_that_comes_twice_changes_nothing_more(api: Api) -> None:
    await api.client.post("/images", json={"url": PAGE})
    at = datetime.now(UTC)
    await api.scanned(PAGE_ID, IMAGES, scanned_at=at)
    documents = [await api.parts.catalog.get(id_of(url)) for url in (PAGE, *IMAGES)]
    await api.scanned(PAGE_ID, IMAGES, scanned_at=at)
    assert [await api.parts.catalog.get(id_of(url)) for url in (PAGE, *IMAGES)] == documents
