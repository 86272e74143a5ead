"""The redelivery table: whatever a consumer is given repeatedly, and wherever it dies, the same is there at the end."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import aio_pika
import pytest

from shared import events, topology
from shared.broker import Publisher
from shared.dead_letters import DeadLetters
from tests.crashing import AFTER, BEFORE, FIRST, LAST, Crash
from tests.origin import Origin, body, image, status
from tests.redelivery import (
    AT,
    DELAYS,
    Ending,
    add,
    alike,
    at,
    dead,
    delayed,
    die,
    failed,
    fetched,
    fetcher,
    fetchers_and_storer,
    storer,
    storer_handlers,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from services.storer.handlers import Handlers
    from shared.blobs import Blobs
    from shared.catalog import Catalog
    from shared.mongo import Mongo
    from tests.origin import Behaviour

pytestmark = pytest.mark.anyio


class Case(NamedTuple):
    """A message and what it comes to. `steps` are what its consumer does with it, in order; `several` those that do several things."""

    queue: topology.Queue
    envelope: Callable[[str], events.Envelope]
    steps: tuple[str, ...]
    status: str
    several: tuple[str, ...] = ()


STORER = {
    "image-fetched": Case(
        topology.IMAGE_FETCHED,
        lambda image: events.encode(fetched(image)),
        ("fs.chunks.insert_many", "fs.files.insert_many", "images.bulk_write", "publish image-stored"),
        "stored",
        several=("fs.chunks.insert_many",),
    ),
    "download-delayed": Case(
        topology.DOWNLOAD_DELAYED,
        lambda image: events.encode(delayed(image)),
        ("images.bulk_write", "publish image-delayed"),
        "delayed",
        several=("images.bulk_write",),
    ),
    "download-failed": Case(
        topology.DOWNLOAD_FAILED,
        lambda image: events.encode(failed(image)),
        ("images.bulk_write", "publish image-failed"),
        "failed",
        several=("images.bulk_write",),
    ),
    "dead-letters": Case(
        topology.DEAD, dead, ("fs.chunks.insert_many", "fs.files.insert_many", "dead_letters.update_one"), "queued"
    ),
}  # fmt: skip


class Asked(NamedTuple):
    """A request, by what the origin does, and what it comes to. `steps` are those of its first attempt."""

    behaviour: Behaviour
    steps: tuple[str, ...]
    status: str
    attempts: int = 1
    several: tuple[str, ...] = ()


FETCHER = {
    "an image": Asked(body(image("PNG"), "image/png"), ("download", "publish image-fetched"), "stored"),
    "gone": Asked(status(404), ("download", "publish download-failed"), "failed"),
    "down": Asked(status(500), ("download", "publish download-delayed", "publish download-requested"), "failed", attempts=2),
}


def table(cases: dict[str, Any]) -> list[Any]:
    """Each case with each moment at which its consumer can die; the last is after everything, before the ack."""
    rows = []
    for name, case in cases.items():
        moments = [f"{when} {step}" for step in case.steps for when in ((BEFORE, FIRST, LAST) if step in case.several else (BEFORE,))]
        rows += [pytest.param(case, moment, id=f"{name}, {moment}") for moment in (*moments, f"{AFTER} {case.steps[-1]}")]
    return rows


@pytest.fixture
async def publisher(amqp_url: str) -> AsyncIterator[Publisher]:
    async with Publisher(amqp_url, delays=DELAYS) as publisher:
        await publisher.wait()
        yield publisher


@pytest.fixture
async def ending(amqp_url: str, mongo: Mongo, publisher: Publisher, catalog: Catalog, blobs: Blobs) -> AsyncIterator[Ending]:  # noqa: ARG001  (they declare)
    await DeadLetters(mongo, blobs).create_indexes()
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        announced = await channel.declare_queue(exclusive=True)
        for kind in (events.ImageStored, events.ImageFailed, events.ImageDelayed):
            await announced.bind(topology.EXCHANGE, kind.NAME)
        yield Ending(mongo, channel, announced)


# The storer


async def check_storer(ending: Ending, case: Case, images: Sequence[str]) -> None:
    """All images fared alike, and nothing else is there."""
    await ending.sweep()
    documents = [await ending.document(image) for image in images]
    assert all(document == documents[0] for document in documents), documents
    assert documents[0]["status"] == case.status
    assert len(documents[0]["attempts"]) == (case.status in {"delayed", "failed"})
    letters = await ending.dead_letters()
    assert len(letters) == (len(images) if case.queue is topology.DEAD else 0)
    assert all(letter == letters[0] for letter in letters), letters
    files = sum("insert_many" in step for step in case.steps) // 2 * len(images)
    assert await ending.counts() == (files, 2 * files if case.queue is topology.IMAGE_FETCHED else files)
    announcing = case.steps[-1].startswith("publish")
    assert await ending.announced() == ({(case.steps[-1].removeprefix("publish "), f"{image}.1") for image in images} if announcing else set())


@pytest.mark.parametrize("case", STORER.values(), ids=STORER)
@pytest.mark.parametrize("storers", [1, 2], ids=["one after another", "at once, to two"])
async def test_a_message_of_the_storers_delivered_once_twice_or_ten_times_comes_to_the_same(
    amqp_url: str, mongo_url: str, ending: Ending, publisher: Publisher, catalog: Catalog, case: Case, storers: int
) -> None:
    images = {await add(catalog, f"http://a/{times}"): times for times in (1, 2, 10)}
    for name, times in images.items():
        await asyncio.gather(*(publisher.send(case.envelope(name), case.queue.name) for _ in range(times)))

    @asynccontextmanager
    async def processes() -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for _ in range(storers):
                await stack.enter_async_context(storer(amqp_url, mongo_url, Crash(), prefetch=1 if storers == 1 else 128))
            yield

    await ending.work_off(processes)
    await check_storer(ending, case, list(images))


@pytest.mark.parametrize(("case", "moment"), table(STORER))
async def test_a_storer_that_dies_anywhere_is_made_good_by_the_next(
    amqp_url: str, mongo_url: str, ending: Ending, publisher: Publisher, catalog: Catalog, case: Case, moment: str
) -> None:
    images = [await add(catalog, f"http://a/{name}") for name in ("unlucky", "undisturbed")]
    await publisher.send(case.envelope(images[0]), case.queue.name)
    await die(amqp_url, moment, lambda url, crash: storer(url, mongo_url, crash))
    await publisher.send(case.envelope(images[1]), case.queue.name)
    await ending.work_off(lambda: storer(amqp_url, mongo_url, Crash()))
    await check_storer(ending, case, images)


@pytest.mark.parametrize("case", STORER.values(), ids=STORER)
async def test_the_table_has_every_step_of_the_storers(
    amqp_url: str, mongo_url: str, ending: Ending, publisher: Publisher, catalog: Catalog, case: Case
) -> None:
    await publisher.send(case.envelope(await add(catalog, "http://a/")), case.queue.name)
    watched = Crash()
    await ending.work_off(lambda: storer(amqp_url, mongo_url, watched))
    assert tuple(watched.steps) == case.steps


# The fetcher, with a storer behind it


async def check_fetcher(ending: Ending, case: Asked, images: Sequence[str]) -> None:
    await ending.sweep()
    documents = [await ending.document(image) for image in images]
    assert all(document == documents[0] for document in documents), documents
    assert documents[0]["status"] == case.status
    assert [attempt["number"] for attempt in documents[0]["attempts"]] == ([] if case.status == "stored" else [*range(1, case.attempts + 1)])
    assert await ending.dead_letters() == []
    # The same bytes for every URL: one file.
    assert await ending.counts() == ((1, 1) if case.status == "stored" else (0, 0))
    # A delay that is overtaken by what follows isn't announced.
    delays = {("image-delayed", f"{image}.1") for image in images if case.attempts > 1}
    assert await ending.announced() - delays == {(f"image-{case.status}", f"{image}.1") for image in images}


async def request(publisher: Publisher, image: str, url: str) -> None:
    await publisher.publish(events.DownloadRequested(image=image, revision=1, url=url, requested_at=AT))


@pytest.mark.parametrize("case", FETCHER.values(), ids=FETCHER)
@pytest.mark.parametrize("fetchers", [1, 2], ids=["one after another", "at once, to two"])
async def test_a_request_delivered_once_twice_or_ten_times_comes_to_the_same(
    amqp_url: str, mongo_url: str, ending: Ending, publisher: Publisher, catalog: Catalog, case: Asked, fetchers: int
) -> None:
    async with Origin("127.77.0.1") as origin:
        times = {origin.on(f"/{times}", case.behaviour): times for times in (1, 2, 10)}
        images = {url: await add(catalog, url) for url in times}
        for url, image in images.items():
            await asyncio.gather(*(request(publisher, image, url) for _ in range(times[url])))
        prefetch = 1 if fetchers == 1 else 128
        await ending.work_off(lambda: fetchers_and_storer(amqp_url, mongo_url, Crash(), fetchers=fetchers, prefetch=prefetch))
        assert origin.hits == {f"/{number}": number * case.attempts for number in times.values()}
        await check_fetcher(ending, case, list(images.values()))


@pytest.mark.parametrize(("case", "moment"), table(FETCHER))
async def test_a_fetcher_that_dies_anywhere_is_made_good_by_the_next(
    amqp_url: str, mongo_url: str, ending: Ending, publisher: Publisher, catalog: Catalog, case: Asked, moment: str
) -> None:
    async with Origin("127.77.0.1") as origin:
        unlucky, undisturbed = (origin.on(path, case.behaviour) for path in ("/unlucky", "/undisturbed"))
        images = {url: await add(catalog, url) for url in (unlucky, undisturbed)}
        await request(publisher, images[unlucky], unlucky)
        crash = await die(amqp_url, moment, fetcher)
        await request(publisher, images[undisturbed], undisturbed)
        await ending.work_off(lambda: fetchers_and_storer(amqp_url, mongo_url, Crash()))
        # What the dead one had done is done once more, and no more than that: what it asked, and what it had asked for.
        assert origin.hits["/unlucky"] == case.attempts + crash.steps.count("download") + crash.steps.count("publish download-requested")
        assert origin.hits["/undisturbed"] == case.attempts
        await check_fetcher(ending, case, list(images.values()))


@pytest.mark.parametrize("case", FETCHER.values(), ids=FETCHER)
async def test_the_table_has_every_step_of_the_fetchers(
    amqp_url: str, mongo_url: str, ending: Ending, publisher: Publisher, catalog: Catalog, case: Asked
) -> None:
    async with Origin("127.77.0.1") as origin:
        url = origin.on("/", case.behaviour)
        await request(publisher, await add(catalog, url), url)
        watched = Crash()
        await ending.work_off(lambda: fetchers_and_storer(amqp_url, mongo_url, watched))
        assert tuple(watched.steps)[: len(case.steps)] == case.steps


# Out of order. Three queues keep no order among one another, and two storers not even one queue's.

FIRST_DELAY = partial(delayed, revision=2, attempt=1)
SECOND_DELAY = partial(delayed, revision=2, attempt=2)
FAILURE = partial(failed, revision=2, attempt=3)
COPY = partial(fetched, revision=2, attempt=3, content=b"new")
FORMER = (partial(delayed, attempt=7), partial(failed, attempt=8), partial(fetched, attempt=9, content=b"old"))


@pytest.mark.parametrize(
    ("outcomes", "status", "history"),
    [
        ((FIRST_DELAY, SECOND_DELAY), "delayed", [1, 2]),
        ((FIRST_DELAY, SECOND_DELAY, FAILURE), "failed", [1, 2, 3]),
        ((FIRST_DELAY, SECOND_DELAY, COPY), "stored", [1, 2]),
        ((FIRST_DELAY, SECOND_DELAY, FAILURE, COPY), "stored", [1, 2, 3]),
    ],
    ids=["delayed", "failed", "stored", "stored, although a repetition of the attempt failed"],
)
async def test_in_whatever_order_and_however_often_the_outcomes_come_the_document_ends_the_same(
    mongo: Mongo, blobs: Blobs, catalog: Catalog, outcomes: tuple[Callable[[str], events.Event], ...], status: str, history: list[int]
) -> None:
    handlers = storer_handlers(mongo, catalog, blobs)
    permutations = list(itertools.permutations(outcomes))
    # Each once; each twice; and an outcome of a former revision among them.
    repeated = [once + again for once, again in itertools.product(permutations, repeat=2)]
    orders = [*permutations, *repeated, *(order for former in FORMER for order in itertools.permutations((*outcomes, former)))]

    async def deliver(image: str, order: Sequence[Callable[[str], events.Event]]) -> None:
        await mongo["images"].update_one({"_id": image}, {"$set": {"revision": 2}})
        for outcome in order:
            await handle(handlers, outcome(image))

    images = [await add(catalog, f"http://a/{number}") for number in range(len(orders))]
    await asyncio.gather(*(deliver(image, order) for image, order in zip(images, orders, strict=True)))

    found = await catalog.get_many(images)
    for order, ended in zip(orders, found, strict=True):
        assert ended
        assert (ended.status, ended.attempt) == (status, len(outcomes[:3])), order
        assert [(attempt.number, attempt.detail, attempt.at) for attempt in ended.attempts] == [(n, f"number {n}", at(n)) for n in history], order
        assert ended.error == ({"reason": "dns", "detail": "number 3"} if status == "failed" else None), order
        assert ended.next_attempt_at == (at(3) if status == "delayed" else None), order
        assert ended.sha256 == (hashlib.sha256(b"new").hexdigest() if status == "stored" else None), order
    documents = [alike(document) async for document in mongo["images"].find()]
    assert all(document == documents[0] for document in documents)


async def handle(handlers: Handlers, event: events.Event) -> None:
    match event:
        case events.ImageFetched():
            await handlers.on_image_fetched(event)
        case events.DownloadDelayed():
            await handlers.on_download_delayed(event)
        case events.DownloadFailed():
            await handlers.on_download_failed(event)
        case _:
            raise TypeError(event)
