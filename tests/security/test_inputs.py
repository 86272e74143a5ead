"""API, MongoDB and AMQP, cases 43 to 49: what others send is data, and never an operator, a field's name or the end of a worker."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aio_pika
import httpx
import msgspec
import pytest

from shared import topology
from shared.urls import image_id
from tests.origin import body, image
from tests.polling import until
from tests.security.world import world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.settings import Settings
    from tests.security.dns import Dns
    from tests.security.world import World

pytestmark = pytest.mark.anyio

READ = (topology.DOWNLOAD_REQUESTED, topology.IMAGE_FETCHED, topology.DOWNLOAD_DELAYED, topology.DOWNLOAD_FAILED)
AT = "2026-01-02T00:00:00Z"
VALID: dict[str, dict[str, Any]] = {
    "download-requested": {"image": "a", "revision": 1, "url": "http://127.0.0.1/", "requested_at": AT},
    "download-delayed": {"image": "a", "revision": 1, "reason": "dns", "detail": "x", "failed_at": AT, "took_ms": 1, "next_attempt_at": AT},
    "download-failed": {"image": "a", "revision": 1, "reason": "dns", "detail": "x", "failed_at": AT, "took_ms": 1},
}


async def count(here: World) -> int:
    return len((await here.client.get("/images?limit=500")).json()["items"])


@pytest.mark.parametrize(
    "content",
    [b'{"url": {"$gt": ""}}', b'{"url": ["http://a/"]}', b'{"url": 5}', b'{"url": null}', b'{"url": true}', b'{"url": {"$where": "sleep(1000)"}}', b"[]", b"5",
     b'"http://127.77.0.1/"', b"null", b"", b"{", b'{"$gt": ""}', b'{"url": "http://127.77.0.1/", "$set": {"status": "stored"}}', b'{"url": "http://127.77.0.1/", "_id": "x"}',
     b'{"url": "http://127.77.0.1/", "status": "stored"}', b'{"url": "\xff"}', b'{"url": "\\ud800"}', b"[" * 60_000, b'{"url":' * 8_000, b"1" * 60_000, b'{"a":1,"url":NaN}',
     b'{"__proto__": {"url": "http://127.77.0.1/"}}', b"\xff\xfe{\0}\0", b'{"url": 1e999999}'],
    ids=lambda content: repr(content[:40]),
)  # fmt: skip
async def test_case_43_a_body_that_is_not_what_it_should_be(answering: World, content: bytes) -> None:
    before = await count(answering)
    answering.tried += 1
    answer = await answering.client.post("/images", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in ({400, 422} if b"ud800" in content else {400})
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert await count(answering) == before
    answering.refused += 1


@pytest.mark.parametrize(
    "query",
    [
        "url[$ne]=x",
        "status[$gt]=",
        "status=%7B%22$gt%22:%22%22%7D",
        "url=%7B%22$gt%22:%22%22%7D",
        "$where=sleep(1000)",
        "limit[]=5",
        "status=stored&status=failed",
    ],
)
async def test_case_43_an_operator_in_the_query(answering: World, query: str) -> None:
    for path in ("/images", "/dead-letters"):
        answer = await answering.client.get(f"{path}?{query}")
        assert answer.status_code in {400, 422}, (path, answer.text)


@pytest.mark.parametrize("path", ["/images", "/requeue", "/nowhere", "/dead-letters/x/replay"])
async def test_case_44_an_oversized_body(answering: World, path: str) -> None:
    content = b'{"url": "' + b"x" * 1_000_000 + b'"}'
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for at in range(0, len(content), 10_000):
            sent += 1
            yield content[at : at + 10_000]

    for part in (content, chunks()):
        answering.tried += 1
        try:
            answer = await answering.client.post(path, content=part, headers={"content-type": "application/json"})
        except (httpx.NetworkError, httpx.RemoteProtocolError):
            pass  # it may close on us while we write
        else:
            assert answer.status_code in ({413} if path == "/images" else {413, 404, 400, 415, 405})
        answering.refused += 1


@pytest.mark.parametrize("length", ["99999999999999999999", "-1", "x", "65537", "1e3"])
async def test_case_44_a_content_length_that_lies(answering: World, length: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", answering.settings.port)
    writer.write(
        f"POST /images HTTP/1.1\r\nHost: 127.0.0.1:{answering.settings.port}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n".encode()
        + b"{"
    )
    async with asyncio.timeout(5):
        line = await reader.readline()
    writer.close()
    assert line.split(b" ")[1] in {b"400", b"413"}


@pytest.mark.parametrize(
    "limit", ["0", "-1", "1e9", "1000000000", "501", "5.0", "+5", "", "0x10", "９", "NaN", "9" * 5000, "5%00", "%7B%22$gt%22:0%7D"]
)
@pytest.mark.parametrize("path", ["/images", "/dead-letters"])
async def test_case_45_a_limit_that_is_none(answering: World, path: str, limit: str) -> None:
    answering.tried += 1
    answer = await answering.client.get(f"{path}?limit={limit}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["parameter"] == "limit"
    answering.refused += 1


@pytest.mark.parametrize(
    "cursor",
    ["x", "", "0", "AAAA", "a" * 5000, "%00", "%FF", "$gt", "eyJhIjoxfQ==", "AQAAAAAAAAAA" + "A" * 36, "..%2f", "%7B%22$gt%22:%22%22%7D", "é"],
)
@pytest.mark.parametrize("path", ["/images", "/dead-letters"])
async def test_case_46_a_garbage_cursor(answering: World, path: str, cursor: str) -> None:
    answering.tried += 1
    answer = await answering.client.get(f"{path}?cursor={cursor}")
    assert answer.status_code == 400, answer.text
    answering.refused += 1


NO_EVENTS: list[tuple[bytes, dict[str, Any]]] = [
    (b"not json", {"type": "download-requested", "headers": {"v": 1}}),
    (b"", {"type": "download-failed", "headers": {"v": 1}}),
    (b"\xff\xfe\x00", {"type": "download-requested", "headers": {"v": 1}}),
    (b"{}", {"type": "no-such-event", "headers": {"v": 1}}),
    (b"{}", {}),
    (b"{}", {"type": "download-requested", "headers": {"v": {"$gt": 0}}}),
    (b"[" * 100_000, {"type": "download-requested", "headers": {"v": 1}}),
    (b"x", {"type": "image-fetched", "headers": {"v": 1, "image": 5}}),
    (b"x", {"type": "image-fetched", "headers": {"v": 1, "$set": "x", "a.b": 1, "": 2}}),
    (b"{}" * 1_000_000, {"type": "download-delayed", "headers": {"v": 1}, "content_encoding": "gzip"}),
]


@pytest.mark.parametrize("queue", READ, ids=lambda queue: queue.name)
async def test_case_47_a_message_that_is_no_json_or_of_an_unknown_kind(here: World, queue: topology.Queue) -> None:
    sent = [await here.send(queue, content, **properties) for content, properties in NO_EVENTS]
    for message_id in sent:
        letter = await here.died(message_id)
        assert (letter["queue"], letter["reason"]) == (queue.name, "rejected")


@pytest.mark.parametrize("kind", VALID)
@pytest.mark.parametrize("value", [{"$gt": ""}, [1], -(2**70), 2**70], ids=["operator", "array", "far below 0", "beyond 64 bits"])
async def test_case_47_a_message_with_a_field_that_is_not_what_it_should_be(here: World, kind: str, value: object) -> None:
    queue = next(queue for queue in READ if queue.routing_key == kind)
    fields = [*VALID[kind], "attempt", *(["snoozes"] if kind == "download-requested" else [])]
    contents = [msgspec.json.encode({**VALID[kind], field: value}) for field in fields]
    sent = [await here.send(queue, content, type=kind, headers={"v": 1}) for content in contents]
    for message_id in sent:
        letter = await here.died(message_id)
        assert (letter["queue"], letter["reason"]) == (queue.name, "rejected")
        assert "It is no event" in letter["detail"]


async def test_case_47_good_messages_beside_a_bad_one_come_to_no_harm(here: World) -> None:
    """They may be written in one batch with it."""
    locations = [await here.pipeline.post(here.on(body(b"no image", "image/png"))) for _ in range(20)]
    bad = [
        here.send(
            topology.DOWNLOAD_FAILED, msgspec.json.encode({**VALID["download-failed"], "took_ms": 2**70}), type="download-failed", headers={"v": 1}
        )
        for _ in range(5)
    ]
    sent = await asyncio.gather(*bad)
    for location in locations:
        assert (await here.pipeline.settled(location))["error"]["reason"] == "not_an_image"
    for message_id in sent:
        await here.died(message_id)
    assert {letter["type"] for letter in await here.dead_letters() if letter["message_id"] not in sent} <= {
        None,
        "no-such-event",
        *VALID,
        "image-fetched",
    }


@pytest.mark.parametrize("version", [0, 2, 99, -1, "1", "x", 2**40, None, True], ids=repr)
async def test_case_48_an_unknown_version(here: World, version: object) -> None:
    headers = {} if version is None else {"v": version}
    content = msgspec.json.encode(VALID["download-requested"])
    if version is True:
        return  # is 1 to Python, and does no harm
    letter = await here.died(await here.send(topology.DOWNLOAD_REQUESTED, content, type="download-requested", headers=headers))
    assert letter["reason"] == "rejected"


async def test_case_49_a_message_that_crashes_its_consumer_each_time(own_settings: Settings) -> None:
    """The consumer takes it and is gone, without a word; each time again, until the broker has had enough."""
    crashes = 0
    url = "http://127.77.0.1:8999/poison"

    def fetching(_: Dns) -> Any:
        @asynccontextmanager
        async def service(settings: Settings) -> AsyncIterator[None]:
            task = asyncio.create_task(crash(settings))
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        return service

    async def crash(settings: Settings) -> None:
        nonlocal crashes
        while True:
            async with await aio_pika.connect(settings.require("amqp_url")) as connection:
                channel = await connection.channel()
                await channel.set_qos(prefetch_count=1)
                queue = await channel.get_queue(topology.DOWNLOAD_REQUESTED.name)
                taken = asyncio.Event()

                async def take(_: object, taken: asyncio.Event = taken) -> None:
                    taken.set()

                await queue.consume(take)
                await taken.wait()
            crashes += 1

    async with world(own_settings, "inputs (crashes)", fetching=fetching) as here:
        location = await here.pipeline.post(url)

        async def dead() -> list[dict[str, Any]]:
            return [letter for letter in await here.dead_letters() if letter["reason"] == "delivery_limit"]

        [letter] = await until(dead, seconds=60)
        assert letter["queue"] == topology.DOWNLOAD_REQUESTED.name
        assert topology.DELIVERY_LIMIT <= crashes <= topology.DELIVERY_LIMIT + 2
        here.tried, here.refused = 1, 1
        assert (await here.client.get(location)).json()["status"] == "queued"
    async with world(own_settings, "inputs (afterwards)") as here:
        await here.works()


async def test_what_a_message_names_is_only_ever_a_value(here: World) -> None:
    """An image's id, a reason or a URL in a message that looks like something of MongoDB's changes no other document."""
    good = await here.stored(here.on(body(image("PNG", seed=470))))
    for name in ("$where", "", "a.b", "\0", "x" * 100_000, json.dumps({"$gt": ""})):
        content = msgspec.json.encode({**VALID["download-failed"], "image": name})
        await here.send(topology.DOWNLOAD_FAILED, content, type="download-failed", headers={"v": 1})
    await here.works()
    assert (await here.client.get(good["links"]["self"])).json() == good
    assert (await here.client.get(f"/images/{image_id('nobody')}")).status_code == 404
