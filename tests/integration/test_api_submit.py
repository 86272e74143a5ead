"""POST /images over HTTP, on a real MongoDB and RabbitMQ."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest

from services.api.submit import MAX_BODY_BYTES
from shared import topology
from tests.api import Api, id_of, running_api, taken
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

pytestmark = pytest.mark.anyio

URL = "https://example.org/cat.jpg"


@pytest.fixture
async def api(mongo_url: str, amqp_url: str) -> AsyncIterator[Api]:
    async with running_api(mongo_url, amqp_url) as api:
        yield api


async def nothing_written(api: Api) -> bool:
    items: list[object] = (await api.client.get("/images")).json()["items"]
    return not items


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"/problems/{kind}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    return body


async def test_a_url_is_accepted_and_its_image_is_where_location_says(api: Api) -> None:
    answer = await api.client.post("/images", json={"url": "HTTPS://EXAMPLE.org:443/cat.jpg#whiskers"})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/images/{id_of(URL)}"
    image = answer.json()
    assert (image["id"], image["status"], image["source_url"]) == (id_of(URL), "queued", URL)
    assert image["added_at"].endswith("Z")
    assert (await api.client.get(answer.headers["location"])).json() == image


async def test_a_url_that_is_known_is_a_conflict_that_names_its_image(api: Api) -> None:
    await api.client.post("/images", json={"url": URL})
    again = problem(await api.client.post("/images", json={"url": URL + "#again"}), 409, "known-image")
    assert again["image"] == f"/images/{id_of(URL)}"
    assert len((await api.client.get("/images")).json()["items"]) == 1


async def test_fifty_clients_at_the_same_moment_make_one_image(api: Api) -> None:
    answers = await asyncio.gather(*(api.client.post("/images", json={"url": URL}) for _ in range(50)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [202, *[409] * 49]
    assert {answer.json()["image"] for answer in answers if answer.status_code == 409} == {f"/images/{id_of(URL)}"}
    assert len((await api.client.get("/images")).json()["items"]) == 1


async def test_fifty_clients_of_two_processes_make_one_image(api: Api, mongo_url: str, amqp_url: str) -> None:
    async with running_api(mongo_url, amqp_url) as other:
        answers = await asyncio.gather(*((api, other)[i % 2].client.post("/images", json={"url": URL}) for i in range(50)))
    assert sorted(answer.status_code for answer in answers) == [202, *[409] * 49]


async def test_the_request_reaches_its_queue_and_the_image_is_marked_dispatched(api: Api, amqp_url: str) -> None:
    async def connected() -> bool:
        return bool((await api.client.get("/health/ready")).json()["checks"]["rabbitmq"] == "ok")

    async def dispatched() -> bool:
        return not await api.parts.catalog.undispatched(before=datetime.now(UTC) + timedelta(minutes=1), limit=1)

    await until(connected)
    await api.client.post("/images", json={"url": URL})
    await until(dispatched)
    [request] = await taken(amqp_url, topology.DOWNLOAD_REQUESTED.name)
    assert (request.image, request.url, request.attempt) == (id_of(URL), URL, 1)


@pytest.mark.parametrize(
    ("body", "pointer", "says"),
    [
        (b"", "#", "isn't JSON"),
        (b"hello", "#", "isn't JSON"),
        (b'{"url": "https://example.org/"', "#", "isn't JSON"),
        (b'{"url": "https://example.org/"} trailing', "#", "byte"),
        (b'{"url": "\xff"}', "#", "UTF-8"),
        (b"\xff\xfe{\x00", "#", "isn't JSON"),
        (b"null", "#", "Expected an object, got null"),
        (b'["https://example.org/"]', "#", "Expected an object, got an array"),
        (b"{}", "#/url", "missing required field `url`"),
        (b'{"url": null}', "#/url", "Expected a string, got null"),
        (b'{"url": 5}', "#/url", "Expected a string, got a number"),
        (b'{"url": ["https://example.org/"]}', "#/url", "Expected a string, got an array"),
        (b'{"url": {"$gt": ""}}', "#/url", "Expected a string, got an object"),
        (b'{"url": "https://example.org/", "ulr": 1}', "#/ulr", "unknown field `ulr`"),
        (b'{"url": ' + b"[" * 10_000, "#/url", "got an array"),
    ],
    ids=lambda value: value[:30] if isinstance(value, bytes) else None,
)
async def test_a_bad_body_is_refused_saying_what_is_wrong_and_where(api: Api, body: bytes, pointer: str, says: str) -> None:
    answer = await api.client.post("/images", content=body, headers={"content-type": "application/json"})
    found = problem(answer, 400, "bad-body")
    assert found["errors"][0]["pointer"] == pointer
    assert says in found["detail"]
    assert await nothing_written(api)


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("hello", "url-syntax"),
        ("", "url-syntax"),
        ("//example.org/x", "url-syntax"),
        ("http:///x", "url-syntax"),
        ("http:x", "url-syntax"),
        ("file:///etc/passwd", "url-scheme"),
        ("data:image/png;base64,AAAA", "url-scheme"),
        ("javascript:alert(1)", "url-scheme"),
        ("https://user:secret@example.org/", "url-credentials"),
        ("https://example.org:22/", "url-port"),
        ("https://example.org/a b", "url-characters"),
        ("https://example.org/\r\nX: y", "url-characters"),
        ("https://example.org./", "url-host"),
        ("https://example.org/" + "x" * 2048, "url-too-long"),
        ("http://127.0.0.1/", "url-address"),
        ("http://2130706433/", "url-address"),
        ("http://0177.0.0.1/", "url-address"),
        ("http://[::1]/", "url-address"),
        ("http://localhost/", "url-address"),
        ("http://169.254.169.254/latest/meta-data/", "url-address"),
        ("http://10.1.2.3/", "url-address"),
    ],
)
async def test_a_url_outside_the_rules_is_refused_saying_which(api: Api, url: str, rule: str) -> None:
    found = problem(await api.client.post("/images", json={"url": url}), 422, "refused-url")
    assert found["rule"] == rule
    assert "secret" not in found["detail"]
    assert await nothing_written(api)


async def test_an_address_that_is_allowed_is_accepted(mongo_url: str, amqp_url: str) -> None:
    async with running_api(mongo_url, amqp_url, fetch_allow=(ip_network("127.77.0.0/16"),)) as api:
        assert (await api.client.post("/images", json={"url": "http://127.77.0.1/"})).status_code == 202
        assert (await api.client.post("/images", json={"url": "http://127.78.0.1/"})).status_code == 422


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.x+json"])
async def test_json_is_taken_however_it_is_announced(api: Api, content_type: str) -> None:
    answer = await api.client.post("/images", content=b'{"url": "https://example.org/"}', headers={"content-type": content_type})
    assert answer.status_code == 202


@pytest.mark.parametrize(
    "headers", [{}, {"content-type": "application/x-www-form-urlencoded"}, {"content-type": "text/plain"}, {"content-type": "application/jsonx"}]
)
async def test_what_is_not_announced_as_json_is_refused_with_the_remedy(api: Api, headers: dict[str, str]) -> None:
    answer = await api.client.post("/images", content=b'{"url": "https://example.org/"}', headers=headers)
    assert "application/json" in problem(answer, 415, "unsupported-media-type")["detail"]
    assert answer.headers["accept-post"] == "application/json"
    assert await nothing_written(api)


async def test_a_body_that_is_too_large_is_refused_with_and_without_its_length(api: Api) -> None:
    body = b'{"url": "' + b"x" * MAX_BODY_BYTES + b'"}'

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    for content in (body, chunks()):
        answer = await api.client.post("/images", content=content, headers={"content-type": "application/json"})
        problem(answer, 413, "content-too-large")
    assert await nothing_written(api)


async def test_addresses_are_absolute_behind_a_proxy(mongo_url: str, amqp_url: str) -> None:
    async with running_api(mongo_url, amqp_url, public_url="https://pictures.example/api") as api:
        answer = await api.client.post("/images", json={"url": URL})
        assert answer.headers["location"] == answer.json()["links"]["self"] == f"https://pictures.example/api/images/{id_of(URL)}"
