"""services/api/compat.py: the two older downloaders' own clients keep working."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from shared import urls
from tests.api import running_api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.api import Api

pytestmark = pytest.mark.anyio
URL = "https://example.org/cat.jpg"


@pytest.fixture
async def api(mongo_url: str, amqp_url: str) -> AsyncIterator[Api]:
    async with running_api(mongo_url, amqp_url, compat=True) as api:
        yield api


def compat(url: str) -> str:
    return f"/compat/images?url={quote(url, safe='')}"


@pytest.mark.parametrize("body", [{"url": URL}, URL])
async def test_the_node_clients_submit_and_get_the_url_back_known_or_not(api: Api, body: object) -> None:
    for _ in range(2):
        answer = await api.client.post("/api/images", json=body)
        assert (answer.status_code, answer.json()) == (200, URL)


@pytest.mark.parametrize(("body", "status"), [("hello", 422), ({"url": "http://10.0.0.1/"}, 422), ({"link": URL}, 400), (7, 400), (None, 415)])
async def test_what_is_no_url_is_refused_all_the_same(api: Api, body: object, status: int) -> None:
    assert (await api.client.post("/api/images", json=body)).status_code == status
    assert (await api.client.get("/api/images")).json() == []


async def test_the_node_clients_see_an_image_before_and_after_it_is_stored(api: Api) -> None:
    await api.client.post("/api/images", json={"url": URL})
    [queued] = (await api.client.get("/api/images")).json()
    assert (queued["sourceUrl"], queued["storageUrl"], queued["downloadedAt"]) == (URL, None, None)
    await api.fetched(queued["id"], b"bytes")
    stored = (await api.client.get(f"/api/images/{queued['id']}")).json()
    assert stored.keys() == {"id", "sourceUrl", "storageUrl", "requestedAt", "downloadedAt"}
    assert stored["requestedAt"] == queued["requestedAt"]
    assert stored["downloadedAt"]
    assert (await api.client.get(stored["storageUrl"])).content == b"bytes"
    assert (await api.client.get("/api/images/" + "a" * 26)).status_code == 404


async def test_the_node_clients_list_comes_in_pages(api: Api) -> None:
    for number in range(5):
        await api.client.post("/api/images", json={"url": f"{URL}?{number}"})
    seen, path = [], "/api/images?limit=2"
    while path:
        answer = await api.client.get(path)
        seen += [image["sourceUrl"] for image in answer.json()]
        path = answer.links.get("next", {}).get("url", "")
    assert sorted(seen) == [f"{URL}?{number}" for number in range(5)]


async def test_the_go_clients_submit_once_and_refresh_as_often_as_they_like(api: Api) -> None:
    answers = [await api.client.post(compat(URL)) for _ in range(2)]
    assert [(answer.status_code, answer.json()) for answer in answers] == [
        (200, {"message": "URL is being processed"}),
        (409, {"message": "URL already processed"}),
    ]
    for url in (URL, f"{URL}?new"):
        answer = await api.client.put(compat(url))
        assert (answer.status_code, answer.json()) == (200, {"message": "URL is being processed"})
    assert (await api.client.get("/images?url=" + quote(f"{URL}?new", safe=""))).json()["status"] == "queued"


async def test_the_go_clients_get_names_that_do_not_collide(api: Api) -> None:
    assert (await api.client.get(compat(URL))).status_code == 404
    where = await api.store(URL, b"one")
    other = await api.store(f"{URL}?2", b"two")
    names = [(await api.client.get(compat(url))).json()["images"] for url in (URL, f"{URL}?2")]
    assert names == [[f"{where.rpartition('/')[2]}.jpeg"], [f"{other.rpartition('/')[2]}.jpeg"]]
    assert (await api.client.get(f"/compat/images/{names[1][0]}")).content == b"two"
    assert (await api.client.get(f"/compat/images/{names[1][0]}x")).status_code == 404


async def test_the_go_clients_get_the_names_of_a_pages_images(api: Api) -> None:
    page = "https://example.org/page"
    await api.client.post(compat(page))
    image = urls.image_id(page)
    await api.scanned(image, [URL, f"{URL}?waits"])
    await api.fetched(urls.image_id(URL), b"one")
    assert (await api.client.get(compat(page))).json() == {"images": [f"{urls.image_id(URL)}.jpeg"]}


@pytest.mark.parametrize("query", ["", "?url=", "?url=hello", "?link=x", "?url=http%3A%2F%2F10.0.0.1"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_the_go_clients_are_told_what_is_wrong(api: Api, method: str, query: str) -> None:
    answer = await api.client.request(method, f"/compat/images{query}")
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/api/images", compat(URL)])
async def test_they_are_off_unless_asked_for(mongo_url: str, amqp_url: str, path: str) -> None:
    async with running_api(mongo_url, amqp_url) as api:
        assert (await api.client.get(path)).status_code == 404
