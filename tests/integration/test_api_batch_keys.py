"""Idempotency-Key of POST /batches: a request that is repeated, or breaks off, has the effect of one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from shared import topology
from tests.api import Api, id_of, rabbitmq_says, running_api, taken
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from shared.events import DownloadRequested

pytestmark = pytest.mark.anyio

KEY = {"idempotency-key": "0b5a2c1e-7c0e-4a43-8a5c-9d1f0c6e2b7a"}
KNOWN = "https://example.org/known.jpg"
URLS = [KNOWN, *(f"https://example.org/{number}.jpg" for number in range(40)), "hello", f"{KNOWN}#again"]


@pytest.fixture
async def api(mongo_url: str, amqp_url: str) -> AsyncIterator[Api]:
    async with running_api(mongo_url, amqp_url) as api:
        yield api


async def post(api: Api, urls: list[str], headers: dict[str, str] = KEY) -> httpx.Response:
    return await api.client.post("/batches", json={"urls": urls}, headers=headers)


def told(answer: httpx.Response) -> dict[str, Any]:
    """The answer but for how far the images are, which changes."""
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return {name: value for name, value in found.items() if name != "images"}


async def test_repeated_it_is_answered_with_the_same_batch_and_asks_for_nothing_twice(api: Api, amqp_url: str) -> None:
    await rabbitmq_says(api, "ok")
    await api.client.post("/images", json={"url": KNOWN})
    first = told(await post(api, URLS))
    assert (first["accepted"], first["known"], first["repeated"], first["refused"]) == (40, 1, 1, 1)
    await api.fetched(id_of(URLS[1]), b"bytes")
    for _ in range(3):
        assert told(await post(api, URLS)) == first
    assert len((await api.client.get(f"/images?limit=500&batch={first['id']}")).json()["items"]) == 41
    asked: list[DownloadRequested] = []

    async def all_asked_for() -> bool:
        asked.extend(await taken(amqp_url, topology.DOWNLOAD_REQUESTED.name))
        return len(asked) >= 41

    await until(all_asked_for)
    assert len({request.image for request in asked}) == len(asked) == 41


async def test_another_body_under_the_same_key_is_refused_and_adds_nothing(api: Api) -> None:
    first = told(await post(api, URLS[:3]))
    for urls in (URLS[:4], URLS[:2], ["https://example.org/other.jpg"]):
        answer = await post(api, urls)
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/reused-key")
    lines = await api.client.post("/batches", content="\n".join(URLS[:3]), headers={**KEY, "content-type": "text/uri-list"})
    assert lines.status_code == 422
    assert len((await api.client.get("/images")).json()["items"]) == 3
    assert told(await post(api, URLS[:3])) == first


async def test_without_a_key_each_is_a_batch_of_its_own(api: Api) -> None:
    first, second = [told(await post(api, URLS[:3], {})) for _ in range(2)]
    assert first["id"] != second["id"]
    assert (first["accepted"], second["known"]) == (3, 3)


async def test_many_at_once_of_two_processes_are_one_batch_with_one_story(api: Api, mongo_url: str, amqp_url: str) -> None:
    await api.client.post("/images", json={"url": KNOWN})
    async with running_api(mongo_url, amqp_url) as other:
        answers = await asyncio.gather(*(post((api, other)[i % 2], URLS) for i in range(20)))
    first, *others = [told(answer) for answer in answers]
    assert (first["accepted"], first["known"]) == (40, 1)
    assert [item["outcome"] for item in first["items"]] == ["known", *["accepted"] * 40, "refused", "repeated"]
    assert all(each == first for each in others)
    assert await api.parts.batches._batches.count_documents({}) == 1


@pytest.mark.parametrize("left", [0, 1, 20, 40])
async def test_one_that_broke_off_is_completed_by_the_next(api: Api, left: int) -> None:
    await api.client.post("/images", json={"url": KNOWN})
    whole = told(await post(api, URLS))
    # As if the process had died when it had added only the first of them.
    await api.parts.catalog._images.delete_many({"_id": {"$in": [id_of(url) for url in URLS[1 + left : 41]]}})
    await api.parts.batches._batches.update_one({"_id": whole["id"]}, {"$unset": {"fates": "", "open": ""}})
    half = (await api.client.get(whole["links"]["self"])).json()
    assert (half["total"], half["accepted"], half["completed_at"]) == (43, None, None)
    assert told(await post(api, URLS)) == whole
    assert len((await api.client.get(f"/images?limit=500&batch={whole['id']}")).json()["items"]) == 41
    assert [batch.id for batch in await api.parts.batches.open(limit=10)] == [whole["id"]]


async def test_keys_of_different_clients_are_different(mongo_url: str, amqp_url: str) -> None:
    async with running_api(mongo_url, amqp_url, api_keys=("first-secret-of-ours", "second-secret-of-ours")) as api:
        answers = [
            await post(api, [URLS[n]], {**KEY, "authorization": f"Bearer {name}-secret-of-ours"}) for n, name in enumerate(("first", "second"))
        ]
        first, second = [told(answer) for answer in answers]
        assert first["id"] != second["id"]
        assert (first["accepted"], second["accepted"]) == (1, 1)


@pytest.mark.parametrize("key", ["", "x" * 256, "k\tey", "clé", "\x7f"])
async def test_a_key_that_is_none_is_refused(api: Api, key: str) -> None:
    content = b'{"urls": ["https://example.org/"]}'
    answer = await api.client.post("/batches", content=content, headers=[(b"content-type", b"application/json"), (b"idempotency-key", key.encode())])
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-request")
    assert (await api.client.get("/images")).json()["items"] == []


@pytest.mark.parametrize("key", ["x", "x" * 255, '"quoted, as structured headers are"', "!", "a key with spaces"])
async def test_a_key_is_any_visible_text(api: Api, key: str) -> None:
    first = told(await post(api, URLS[:2], {"idempotency-key": key}))
    assert told(await post(api, URLS[:2], {"idempotency-key": key})) == first


async def test_two_keys_in_one_request_are_none(api: Api) -> None:
    headers = [("content-type", "application/json"), ("idempotency-key", "one"), ("idempotency-key", "two")]
    answer = await api.client.post("/batches", content=b'{"urls": ["https://example.org/"]}', headers=headers)
    assert answer.status_code == 400
