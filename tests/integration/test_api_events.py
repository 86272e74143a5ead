"""GET /events on real servers: what happens is told to whoever asks, at once, once, in order, and nothing is missed in silence."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import time
from contextlib import AsyncExitStack, asynccontextmanager, closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from services.api.access import listening
from services.api.app import build_app
from services.api.live.events import MOST_OF_A_CLIENT, RETRY_SECONDS, Seats, stream
from services.api.live.feed import Live
from services.api.live.ring import Ring
from services.api.main import api as api_process
from services.api.main import opened
from services.storer.main import storer
from shared import process
from shared.announcements import PREFETCH
from shared.errors import Reason
from shared.events import DownloadDelayed, DownloadFailed, Event, ImageDelayed, ImageFailed, ImageFetched, ImageStored, PageExpanded, PageScanned
from shared.settings import Settings
from tests.api import Api, gate_to, id_of, running_api, through
from tests.polling import until
from tests.streams import Stream, streaming

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.api.parts import Parts

pytestmark = pytest.mark.anyio

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
IMAGE, PAGE, OTHER = (id_of(f"https://example.org/{name}") for name in ("a.jpg", "page", "other"))
BATCH, BATCH_2 = "0123456789abcdef0123456789abcdef", "f" * 32
KEY, WRITE_ONLY = "0123456789abcdef", "fedcba9876543210:write"


def stored(image: str = IMAGE, *owners: str, **more: Any) -> ImageStored:
    facts: dict[str, Any] = {
        "revision": 1, "url": "https://example.org/a.jpg", "stored_at": AT, "format": "jpeg", "content_type": "image/jpeg", "width": 3,
        "height": 2, "size": 8, "sha256": "ab" * 32, "owners": list(owners),
    }  # fmt: skip
    return ImageStored(image=image, **(facts | more))


@pytest.fixture
async def api(mongo_url: str, amqp_url: str) -> AsyncIterator[Api]:
    async with running_api(mongo_url, amqp_url) as api:
        await api.parts.publisher.wait()
        yield api
        api.parts.live.close()


async def announce(api: Api, *events: Event) -> None:
    for event in events:
        await api.parts.publisher.publish(event)


async def ids(stream: Stream, count: int) -> list[str]:
    return [(await stream.event()).data["id"] for _ in range(count)]


async def test_each_kind_of_event_says_what_happened_in_one_line(api: Api) -> None:
    async with streaming(api.client) as stream:
        assert stream.answer.headers["content-type"].startswith("text/event-stream")
        first = await stream.frame()
        assert (first.retry, first.event) == ("2000", None)
        await announce(
            api, stored(IMAGE, BATCH),
            ImageFailed(image=IMAGE, revision=1, reason=Reason.DNS, detail="no\r\nsuch host", failed_at=AT, url="https://example.org/a.jpg"),
            ImageDelayed(image=IMAGE, revision=1, url="https://example.org/a.jpg", reason=Reason.TIMEOUT, detail="", failed_at=AT, next_attempt_at=AT),
            PageExpanded(image=PAGE, revision=1, url="https://example.org/page", expanded_at=AT),
        )  # fmt: skip
        found = [await stream.event() for _ in range(4)]
    at, url = "2026-01-02T03:04:05.678000Z", "https://example.org/a.jpg"
    assert [(frame.event, frame.data) for frame in found] == [
        ("stored", {"id": IMAGE, "status": "stored", "at": at, "url": url, "format": "jpeg", "width": 3, "height": 2, "size": 8, "in": [BATCH]}),
        ("failed", {"id": IMAGE, "status": "failed", "at": at, "url": url, "reason": "dns", "detail": "no\r\nsuch host"}),
        ("delayed", {"id": IMAGE, "status": "delayed", "at": at, "url": url, "reason": "timeout", "detail": "", "next_attempt_at": at}),
        ("expanded", {"id": PAGE, "status": "expanded", "at": at, "url": "https://example.org/page"}),
    ]
    numbers = [frame.id or "" for frame in (first, *found)]
    assert numbers == sorted(set(numbers), key=lambda text: (len(text), text))


async def test_what_a_storer_does_arrives_with_its_pages_and_batches(api: Api, mongo_url: str, amqp_url: str) -> None:
    settings = Settings(mongo_url=mongo_url, amqp_url=amqp_url)
    publisher = api.parts.publisher
    async with storer(settings), streaming(api.client) as stream:
        urls = [f"https://example.org/{number}.jpg" for number in range(4)]
        batch = (await api.client.post("/batches", json={"urls": urls})).json()["id"]
        one, two, three, page = map(id_of, urls)
        for image in (one, two, three, page):
            await until(lambda image=image: api.parts.catalog.get(image))  # type: ignore[misc]
        facts: dict[str, dict[str, Any]] = {
            image: {"image": image, "revision": await api.revision(image), "took_ms": 7} for image in (one, two, three, page)
        }
        wrong: dict[str, Any] = {"reason": Reason.TIMEOUT, "detail": "Too slow.", "failed_at": AT}
        fetched = ImageFetched(
            **facts[one], url=urls[0], final_url=urls[0], fetched_at=AT, format="jpeg", content_type="image/jpeg", width=3, height=2,
            sha256="00" * 32, body=b"bytes",
        )  # fmt: skip
        for event in (
            fetched,
            DownloadDelayed(**facts[two], **wrong, next_attempt_at=AT),
            DownloadFailed(**facts[three], **wrong),
            PageScanned(**facts[page], url=urls[3], scanned_at=AT, images=["https://example.org/found.jpg"]),
        ):
            await publisher.publish(event)
        found = [await stream.event() for _ in range(4)]
    assert {(frame.event, frame.data["id"], frame.data["url"], *frame.data["in"]) for frame in found} == {
        ("stored", one, urls[0], batch),
        ("delayed", two, urls[1], batch),
        ("failed", three, urls[2], batch),
        ("expanded", page, urls[3], batch),
    }
    for frame in found:  # what is told can be read
        answer = await api.client.get(f"/images/{frame.data['id']}")
        assert answer.json()["status"] == frame.event


async def test_filters_leave_what_all_of_them_have(api: Api) -> None:
    async with AsyncExitStack() as stack:
        of_batch, of_page, of_both = [
            await stack.enter_async_context(streaming(api.client, f"/events?{query}"))
            for query in (f"batch={BATCH}", f"page={PAGE}", f"batch={BATCH}&page={PAGE}")
        ]
        await announce(
            api, stored("in-neither", BATCH_2), stored("in-batch", BATCH), stored("in-page", PAGE), stored("in-both", BATCH_2, PAGE, BATCH),
            PageExpanded(image=PAGE, revision=1, url="https://example.org/page", expanded_at=AT), stored("last", BATCH, PAGE),
        )  # fmt: skip
        assert await ids(of_batch, 3) == ["in-batch", "in-both", "last"]
        assert await ids(of_page, 4) == ["in-page", "in-both", PAGE, "last"]
        assert await ids(of_both, 2) == ["in-both", "last"]


@pytest.mark.parametrize("how", ["header", "parameter"])
async def test_a_client_that_comes_back_goes_on_where_it_was(api: Api, how: str) -> None:
    async with streaming(api.client) as stream:
        await announce(api, *(stored(str(number)) for number in range(5)))
        seen = [await stream.event() for _ in range(5)]
    last = seen[1].id or ""
    await announce(api, stored("5"))
    again: dict[str, Any] = {"headers": {"Last-Event-ID": last}} if how == "header" else {"params": {"last_event_id": last}}
    async with streaming(api.client, **again) as stream:
        assert await ids(stream, 4) == ["2", "3", "4", "5"]


@pytest.mark.parametrize("seen", ["", "nonsense", "0" * 20 + "-1", "\xff", "[the next]"])
async def test_an_id_that_is_not_known_is_answered_with_a_reset(api: Api, seen: str) -> None:
    async with streaming(api.client) as stream:
        current = (await stream.frame()).id or ""
    if seen == "[the next]":
        epoch, _, number = current.partition("-")
        seen = f"{epoch}-{int(number) + 1}"
    async with streaming(api.client, headers=[(b"Last-Event-ID", seen.encode("latin-1"))]) as stream:
        reset = await stream.event()
        assert (reset.event, reset.id) == ("reset", current)
        assert "at" in reset.data  # without data it would be no event
        await announce(api, stored())
        assert await ids(stream, 1) == [IMAGE]
    async with streaming(api.client, headers={"Last-Event-ID": reset.id or ""}) as stream:  # the reset is a place to go on from
        assert await ids(stream, 1) == [IMAGE]


async def test_a_lost_connection_is_answered_with_a_reset(mongo_url: str, amqp_url: str) -> None:
    async with (
        gate_to(amqp_url) as proxy,
        running_api(mongo_url, through(proxy, amqp_url)) as api,
        streaming(api.client) as stream,
    ):
        await until(lambda: is_listening(api.parts))
        proxy.cut()
        assert (await stream.event()).event == "reset"
        await until(lambda: is_published(api, stored()))
        assert await ids(stream, 1) == [IMAGE]
        api.parts.live.close()


async def is_listening(parts: Parts) -> bool:
    return parts.live.listening


async def is_published(api: Api, event: Event) -> bool:
    if not api.parts.publisher.connected:
        return False
    await api.parts.publisher.publish(event)
    return True


async def test_what_the_broker_had_to_drop_is_answered_with_a_reset(api: Api, amqp_url: str) -> None:
    async with gate_to(amqp_url) as gate:
        live = Live(through(gate, amqp_url), messages=1)
        async with process.beside(live.run()):
            await live.ready(10)
            place = live.ring.last
            gate.hold()  # more comes than a listener that hangs has in hand, and than may wait for it
            await asyncio.gather(*(api.parts.publisher.publish(stored(str(number))) for number in range(2 * PREFETCH)))
            gate.release()

            async def gap() -> bool:
                return live.ring.read(place, frozenset(), most_bytes=1).gap

            await until(gap)


async def test_a_client_that_falls_behind_is_told_to_look_anew() -> None:
    live = Live("amqp://nowhere", ring=Ring(most=5))
    reader = stream(live, live.ring.last, frozenset())
    await anext(reader)
    for number in range(3):
        live._hear(stored(str(number)))
    assert (await anext(reader)).count(b"event: stored") == 3
    for number in range(6):
        live._hear(stored(str(number)))
    assert b"event: reset" in await anext(reader)
    live._hear(stored("after"))
    assert b'"id":"after"' in await anext(reader)


async def test_the_ring_is_bounded_in_bytes_whatever_the_events_carry() -> None:
    ring = Ring(most=10**6, most_bytes=100_000)
    live = Live("amqp://nowhere", ring=ring)
    for number in range(200):
        live._hear(stored(str(number), *(f"{owner:032x}" for owner in range(100))))
    assert sum(entry.size for entry in ring._entries.values()) == ring._bytes <= 100_000
    assert ring.last == 200


async def test_silence_is_broken_now_and_then_with_the_latest_id() -> None:
    live = Live("amqp://nowhere")
    reader = stream(live, live.ring.last, frozenset({BATCH}), keep_alive=0.05)
    await anext(reader)
    for number in range(20):  # none of which is for this one
        live._hear(stored(str(number)))
    comment = await anext(reader)
    while live.ring.id_of(live.ring.last).encode() not in comment:
        comment = await anext(reader)
    assert comment.startswith(b": ")
    assert b"data" not in comment


async def test_a_client_has_so_many_streams_and_no_more_and_gives_them_back(api: Api) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(MOST_OF_A_CLIENT):
            await stack.enter_async_context(streaming(api.client))
        refused = await api.client.get("/events")
        assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many-requests")
        assert refused.headers["retry-after"] == str(RETRY_SECONDS)

    async def free() -> bool:
        return not len(api.parts.seats)

    await until(free)
    async with streaming(api.client):
        pass


async def test_a_process_has_so_many_streams_and_no_more(mongo_url: str, amqp_url: str) -> None:
    async with serving(mongo_url, amqp_url, most=2) as (client, _), streaming(client), streaming(client):
        refused = await client.get("/events")
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/unavailable")
        assert refused.headers["retry-after"] == str(RETRY_SECONDS)


@asynccontextmanager
async def serving(mongo_url: str, amqp_url: str, *, most: int) -> AsyncIterator[tuple[httpx.AsyncClient, Parts]]:
    settings = Settings(mongo_url=mongo_url, amqp_url=amqp_url, port=0)
    with closing(listening.listen(settings)) as listener:
        async with opened(settings) as default:
            parts = dataclasses.replace(default, seats=Seats(settings, most=most))
            async with (
                listening.serving(build_app(parts), listener, grace=1),
                httpx.AsyncClient(base_url=listening.url(listener), trust_env=False, timeout=30) as client,
            ):
                yield client, parts
                parts.live.close()


async def test_an_api_that_is_stopped_ends_streams_at_once(mongo_url: str, amqp_url: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = Settings(mongo_url=mongo_url, amqp_url=amqp_url, port=port, grace=20)
    async with AsyncExitStack() as stack:
        running = AsyncExitStack()
        await running.enter_async_context(api_process(settings))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False))
        stream = await stack.enter_async_context(streaming(client))
        await stream.frame()
        before = time.monotonic()
        stopping = asyncio.create_task(running.aclose())
        assert await stream.ends()
        await stopping
        assert time.monotonic() - before < 3


async def test_it_listens_only_while_somebody_is_interested(api: Api, amqp_url: str) -> None:
    assert not api.parts.live.listening
    live = Live(amqp_url, linger=0.0)
    async with process.beside(live.run()):
        with live.interest():
            await live.ready(10)
            assert live.listening

        async def gone() -> bool:
            return not live.listening

        await until(gone)


@pytest.mark.parametrize("query", ["batch=x", f"page={BATCH}", f"batch={BATCH}&batch={BATCH}", "status=stored", "last_event_id=1&last_event_id=2"])
async def test_what_is_no_filter_is_refused(api: Api, query: str) -> None:
    answer = await api.client.get(f"/events?{query}")
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-parameter")


async def test_it_is_only_for_keys_that_can_read_and_is_never_a_page(mongo_url: str, amqp_url: str) -> None:
    async with running_api(mongo_url, amqp_url, api_keys=(KEY, WRITE_ONLY)) as api:
        for key, status in ((None, 401), (WRITE_ONLY.partition(":")[0], 403)):
            answer = await api.client.get("/events", headers={"Authorization": f"Bearer {key}"} if key else {})
            assert answer.status_code == status
        async with streaming(api.client, headers={"Authorization": f"Bearer {KEY}"}) as stream:
            headers = stream.answer.headers
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
        head = await api.client.head("/events", headers={"Authorization": f"Bearer {KEY}"})
        assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream")
        api.parts.live.close()


async def test_without_rabbitmq_a_stream_waits_and_tells_when_it_is_back(mongo_url: str, amqp_url: str) -> None:
    async with gate_to(amqp_url) as proxy:
        proxy.shut()
        async with running_api(mongo_url, through(proxy, amqp_url)) as api, streaming(api.client) as stream:
            assert (await stream.frame()).event is None
            await proxy.open()
            assert (await stream.event()).event == "reset"
            api.parts.live.close()
