"""PUT /images over HTTP, on a real MongoDB and RabbitMQ: downloaded again, and readable throughout."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import topology
from tests.api import Api, gate_to, id_of, rabbitmq_says, running_api, taken, through
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.events import DownloadRequested

pytestmark = pytest.mark.anyio

URL = "https://example.org/cat.jpg"
ID = id_of(URL)
QUEUE = topology.DOWNLOAD_REQUESTED.name
OLD, NEW = b"the old bytes", b"the new bytes"


@pytest.fixture
async def api(mongo_url: str, amqp_url: str) -> AsyncIterator[Api]:
    async with running_api(mongo_url, amqp_url) as api:
        await rabbitmq_says(api, "ok")
        yield api


async def put(api: Api, url: str = URL) -> dict[str, Any]:
    answer = await api.client.put("/images", json={"url": url})
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def requests(api: Api, amqp_url: str) -> list[DownloadRequested]:
    """The requests that are in the queue when all have been confirmed."""

    async def dispatched() -> bool:
        return not await api.parts.catalog.undispatched(before=datetime.now(UTC) + timedelta(minutes=1), limit=1)

    await until(dispatched)
    return await taken(amqp_url, QUEUE)


async def look(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = (await api.client.get(f"/images/{ID}")).json()
    return found


async def content(api: Api) -> bytes:
    answer = await api.client.get(f"/images/{ID}/content")
    assert answer.status_code == 200
    return answer.content


async def versions(api: Api) -> list[str]:
    return [version["sha256"] for version in (await api.client.get(f"/images/{ID}/versions")).json()["items"]]


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


async def test_an_unknown_url_is_submitted(api: Api, amqp_url: str) -> None:
    answer = await api.client.put("/images", json={"url": "HTTPS://Example.org/cat.jpg#x"})
    assert (answer.status_code, answer.headers["location"]) == (202, f"/images/{ID}")
    assert (answer.json()["status"], answer.json()["source_url"]) == ("queued", URL)
    [request] = await requests(api, amqp_url)
    assert (request.image, request.etag, request.last_modified) == (ID, None, None)


@pytest.mark.parametrize(("body", "status"), [({"url": "hello"}, 422), ({"url": "http://127.0.0.1/"}, 422), ({}, 400), ({"url": URL, "x": 1}, 400)])
async def test_what_may_not_be_submitted_may_not_be_refreshed(api: Api, body: dict[str, Any], status: int) -> None:
    assert (await api.client.put("/images", json=body)).status_code == status
    assert (await api.client.get("/images")).json()["items"] == []


async def test_a_stored_image_is_asked_for_again_with_the_validators_of_its_copy(api: Api, amqp_url: str) -> None:
    await api.client.post("/images", json={"url": URL})
    await api.fetched(ID, OLD, etag='"old"', last_modified="Sat, 31 Jan 2026 12:00:00 GMT")
    revision = await api.revision(ID)
    [first] = await requests(api, amqp_url)
    image = await put(api)
    assert (image["status"], image["completed_at"], image["sha256"]) == ("queued", None, sha256(OLD))
    [request] = await requests(api, amqp_url)
    assert (request.image, request.revision, request.attempt) == (ID, revision + 1, 1)
    assert (request.etag, request.last_modified) == ('"old"', "Sat, 31 Jan 2026 12:00:00 GMT")
    assert request.message_id != first.message_id


async def test_the_copy_is_readable_whatever_happens(api: Api) -> None:
    await api.store(URL, OLD)
    await put(api)
    assert await content(api) == OLD
    await api.delayed(ID)
    assert ((await look(api))["status"], await content(api)) == ("delayed", OLD)
    await api.failed(ID, attempt=2)
    image = await look(api)
    assert (image["status"], image["error"]["reason"], image["sha256"]) == ("failed", "http_status", sha256(OLD))
    assert (await content(api), await versions(api)) == (OLD, [])
    await put(api)
    assert (await look(api))["error"] is None
    await api.fetched(ID, NEW)
    assert ((await look(api))["status"], await content(api), await versions(api)) == ("stored", NEW, [sha256(OLD)])


@pytest.mark.parametrize("late", [False, True], ids=["queued", "delayed"])
async def test_while_a_download_is_under_way_no_other_begins(api: Api, amqp_url: str, late: bool) -> None:  # noqa: FBT001
    await api.client.post("/images", json={"url": URL})
    assert len(await requests(api, amqp_url)) == 1
    if late:
        await api.delayed(ID)
    revision = await api.revision(ID)
    assert (await put(api))["status"] == ("delayed" if late else "queued")
    assert (await api.revision(ID), await requests(api, amqp_url)) == (revision, [])


@pytest.mark.parametrize("known", [False, True], ids=["unknown", "stored"])
async def test_fifty_at_once_of_two_processes_are_one_download(api: Api, mongo_url: str, amqp_url: str, known: bool) -> None:  # noqa: FBT001
    if known:
        await api.store(URL, OLD)
        await requests(api, amqp_url)
    async with running_api(mongo_url, amqp_url) as other:
        await rabbitmq_says(other, "ok")
        found = await asyncio.gather(*(put((api, other)[i % 2]) for i in range(50)))
        assert {image["status"] for image in found} == {"queued"}
        assert len(await requests(api, amqp_url)) == 1


async def test_an_unchanged_copy_is_kept_and_said_to_be_checked(api: Api) -> None:
    await api.store(URL, OLD)
    before = await look(api)
    await put(api)
    checked_at = datetime(2030, 1, 31, 12, tzinfo=UTC)
    await api.unchanged(ID, checked_at=checked_at)
    after = await look(api)
    assert datetime.fromisoformat(after["checked_at"]) == checked_at
    assert (after["status"], after["sha256"], after["attempts"][0]["at"]) == ("stored", before["sha256"], before["attempts"][0]["at"])
    assert after["completed_at"]
    assert (await content(api), await versions(api)) == (OLD, [])


async def test_the_same_bytes_again_are_no_version(api: Api) -> None:
    await api.store(URL, OLD)
    before = await look(api)
    await put(api)
    await api.fetched(ID, OLD, etag='"new"')
    after = await look(api)
    assert (after["status"], await versions(api)) == ("stored", [])
    assert datetime.fromisoformat(after["checked_at"]) > datetime.fromisoformat(before["checked_at"])
    image = await api.parts.catalog.get(ID)
    assert image is not None
    assert image.etag == '"new"'


async def test_there_and_back_again_is_a_history(api: Api) -> None:
    await api.store(URL, OLD)
    for body in (NEW, OLD, NEW):
        await put(api)
        await api.fetched(ID, body)
    assert await content(api) == NEW
    assert await versions(api) == [sha256(OLD), sha256(NEW), sha256(OLD)]


async def test_an_outcome_that_comes_twice_makes_one_version(api: Api) -> None:
    await api.store(URL, OLD)
    await put(api)
    at = datetime.now(UTC)
    for _ in range(2):
        await api.fetched(ID, NEW, fetched_at=at)
    await asyncio.gather(*(api.fetched(ID, NEW, fetched_at=at) for _ in range(5)))
    assert await versions(api) == [sha256(OLD)]


async def test_outcomes_of_a_former_revision_change_nothing(api: Api) -> None:
    await api.store(URL, OLD)
    former = await api.revision(ID)
    await put(api)
    before = await api.parts.catalog.get(ID)
    await api.fetched(ID, NEW, revision=former)
    await api.unchanged(ID, revision=former)
    await api.delayed(ID, revision=former)
    await api.failed(ID, revision=former)
    await api.scanned(ID, ["https://example.org/1"], revision=former)
    assert await api.parts.catalog.get(ID) == before
    assert (await api.client.get("/images")).json()["items"][0]["id"] == ID


ODD = st.sampled_from(["$sha256", "$$ROOT", "$$NOW", "$", "$literal", "$.a", "a.b", "", "\0", '{"$gt": ""}', 'W/"$file"', "é", "𝄞"]) | st.text(
    max_size=40
)
TEXTS = st.fixed_dictionaries(dict.fromkeys(("sha256", "format", "content_type", "final_url", "etag", "last_modified"), ODD))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=TEXTS, second=TEXTS)
async def test_what_comes_from_outside_goes_in_and_out_unchanged(api: Api, first: dict[str, str], second: dict[str, str]) -> None:
    await api.parts.catalog.delete(ID)
    await api.client.post("/images", json={"url": URL})
    for texts in (first, second):
        # The bytes are the same each time, and kept under a hash of their own.
        texts["sha256"] += sha256(OLD)
        await put(api)
        await api.fetched(ID, OLD, **texts)
        found = await api.parts.catalog.get(ID)
        assert found
        assert {name: getattr(found, name) for name in texts} == texts
        request = found.request()
        assert (request.etag, request.last_modified) == (texts["etag"], texts["last_modified"])
        kept = [{name: getattr(version, name) for name in ("sha256", "format", "content_type")} for version in found.versions]
        assert kept == ([{name: first[name] for name in ("sha256", "format", "content_type")}] if texts["sha256"] != first["sha256"] else [])


async def test_with_the_broker_away_a_refresh_is_accepted_and_asked_for_when_it_is_back(mongo_url: str, amqp_url: str) -> None:
    async with gate_to(amqp_url) as gate, running_api(mongo_url, through(gate, amqp_url)) as api:
        await rabbitmq_says(api, "ok")
        await api.store(URL, OLD)
        await requests(api, amqp_url)
        gate.shut()
        await rabbitmq_says(api, "not connected")
        assert (await put(api))["status"] == "queued"
        assert await content(api) == OLD
        await gate.open()
        [request] = await requests(api, amqp_url)
        assert request.revision == await api.revision(ID)


@pytest.mark.parametrize("how", ["shut", "stuck"])
async def test_with_mongodb_away_a_refresh_is_refused_in_bounded_time_and_nothing_is_lost(mongo_url: str, amqp_url: str, how: str) -> None:
    async with gate_to(mongo_url) as gate, running_api(through(gate, mongo_url), amqp_url) as api:
        await api.store(URL, OLD)
        if how == "shut":
            gate.shut()
        else:
            gate.hold()
        async with asyncio.timeout(10):
            answer = await api.client.put("/images", json={"url": URL})
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
        if how == "shut":
            await gate.open()
        else:
            gate.release()

        async def refreshed() -> bool:
            return (await api.client.put("/images", json={"url": URL})).status_code == 202

        await until(refreshed)
        assert await content(api) == OLD
