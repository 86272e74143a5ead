"""Images that come in parts, on a real RabbitMQ and MongoDB: in any order, any number of times, to any storer."""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import aio_pika
import pytest
from msgspec.structs import replace

from services.storer.parts import MOST_WAITS
from shared import events, topology
from shared.blobs import Blob
from shared.broker import Publication, Publisher
from shared.dead_letters import DeadLetters
from shared.events import PART_BYTES
from tests.api import running_api
from tests.crashing import AFTER, BEFORE, FIRST, LAST, Crash
from tests.parted import large, read_as_others_do
from tests.polling import until
from tests.redelivery import DELAYS, Ending, add, die, storer, storer_handlers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from services.storer.handlers import Handlers
    from shared.blobs import Blobs
    from shared.catalog import Catalog
    from shared.mongo import Mongo
    from tests.parted import Large

pytestmark = pytest.mark.anyio

LATER = topology.delay_name(topology.IMAGE_FETCHED.name, topology.PARTS_DELAY)


class World(NamedTuple):
    """Servers of a test's own, and whoever looks at them."""

    amqp_url: str
    mongo_url: str
    mongo: Mongo
    catalog: Catalog
    blobs: Blobs
    dead_letters: DeadLetters
    handlers: Handlers
    publisher: Publisher
    ending: Ending

    def storers(self, number: int = 1) -> AbstractAsyncContextManager[None]:
        return _storers(self.amqp_url, self.mongo_url, number)

    async def large(self, url: str, content: bytes | None = None) -> Large:
        return large(await add(self.catalog, url), content=content)

    async def publish(self, published: Sequence[events.Event]) -> None:
        await asyncio.gather(*(self.publisher.publish(event) for event in published))

    async def standing(self, one: Large) -> tuple[int, str]:
        standing = (await self.catalog.standing([one.fetched.image]))[one.fetched.image]
        return standing.revision, standing.status

    async def stored(self, one: Large) -> bool:
        return await self.standing(one) == (one.fetched.revision, "stored")

    async def check_stored(self, one: Large) -> None:
        """The image's document and file are as they should be."""
        document = await self.mongo["images"].find_one({"_id": one.fetched.image})
        assert document
        assert (document["status"], document["sha256"], document["size"]) == ("stored", one.fetched.sha256, len(one.content))
        assert (document["attempt"], document["attempts"]) == (1, [])
        assert await read_as_others_do(self.mongo, document["file"]) == one.content


@pytest.fixture
async def world(amqp_url: str, mongo_url: str, mongo: Mongo, catalog: Catalog, blobs: Blobs) -> AsyncIterator[World]:
    dead_letters = DeadLetters(mongo, blobs)
    await dead_letters.create_indexes()
    handlers = storer_handlers(mongo, catalog, blobs, most_parts=64)
    async with Publisher(amqp_url, delays=DELAYS) as publisher, await aio_pika.connect(amqp_url) as connection:
        await publisher.wait()
        channel = await connection.channel()
        announced = await channel.declare_queue(exclusive=True)
        await announced.bind(topology.EXCHANGE, events.ImageStored.NAME)
        yield World(amqp_url, mongo_url, mongo, catalog, blobs, dead_letters, handlers, publisher, Ending(mongo, channel, announced))


@asynccontextmanager
async def _storers(amqp_url: str, mongo_url: str, number: int) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for _ in range(number):
            await stack.enter_async_context(storer(amqp_url, mongo_url, Crash()))
        yield


async def handle(handlers: Handlers, event: events.Event) -> Sequence[Publication]:
    if isinstance(event, events.ImagePart):
        return await handlers.on_image_part(event)
    assert isinstance(event, events.ImageFetched)
    return await handlers.on_image_fetched(event)


# In any order, any number of times


async def test_in_whatever_order_parts_and_image_fetched_come_the_image_is_stored(world: World) -> None:
    orders = list(itertools.permutations(range(4)))
    made = [await world.large(f"http://a/{number}") for number in range(len(orders))]

    async def deliver(one: Large, order: tuple[int, ...]) -> None:
        waiting: list[Publication] = []
        for index in order:
            answers = await handle(world.handlers, one.all[index])
            waiting += [answer for answer in answers if answer.delay]
        if order[-1] == 3:
            assert not waiting
            return
        assert waiting == [Publication(replace(one.fetched, waits=1), topology.PARTS_DELAY)], "once more, and as the same attempt"
        [stored] = await handle(world.handlers, waiting[0].event)
        assert isinstance(stored.event, events.ImageStored)
        assert stored.event.size == len(one.content)

    await asyncio.gather(*(deliver(one, order) for one, order in zip(made, orders, strict=True)))
    for one in made:
        await world.check_stored(one)


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_is_delivered_once_twice_or_ten_times_to_two_storers_comes_to_the_same(world: World, seed: int) -> None:
    made = {times: await world.large(f"http://a/{times}") for times in (1, 2, 10)}
    messages = [event for times, one in made.items() for event in one.all * times]
    random.Random(seed).shuffle(messages)
    await world.publish(messages)
    await world.ending.work_off(lambda: world.storers(2))
    for one in made.values():
        await world.check_stored(one)
    await world.ending.sweep()
    assert await world.ending.counts() == (3, 9)
    assert await world.ending.dead_letters() == []
    assert await world.ending.announced() == {("image-stored", one.fetched.correlation_id) for one in made.values()}


async def test_a_part_that_is_late_is_waited_for_and_counted_as_no_attempt(world: World) -> None:
    one = await world.large("http://a/")
    await world.publish([one.parts[0], one.fetched, one.parts[2]])
    async with world.storers():
        await until(lambda: waiting_in(world, LATER))
        assert await world.mongo["fs.files"].count_documents({}) == 0
        assert await world.standing(one) == (1, "queued")
        await world.publish([one.parts[1]])
        await until(lambda: world.stored(one))
    await world.check_stored(one)


async def waiting_in(world: World, queue: str) -> bool:
    return bool((await world.ending._channel.declare_queue(queue, passive=True)).declaration_result.message_count)


# The same bytes


async def test_the_same_large_image_from_two_urls_at_once_is_one_file_and_no_chunk_of_the_other_is_left(world: World) -> None:
    first = await world.large("http://a/1")
    others = [await world.large(f"http://a/{number}", content=first.content) for number in (2, 3)]
    made = [first, *others]
    async with world.storers(2):
        await world.publish([event for one in made for event in one.parts])
        await until(lambda: chunks(world, 9))
    await world.publish([one.fetched for one in made for _ in range(2)])
    await world.ending.work_off(lambda: world.storers(2))
    # Before any sweep.
    assert await world.mongo["fs.files"].count_documents({"metadata.sha256": first.fetched.sha256}) == 1
    assert await world.mongo["fs.chunks"].count_documents({}) == 3
    for one in made:
        await world.check_stored(one)
    await world.ending.sweep()
    assert await world.ending.counts() == (1, 3)
    assert await world.ending.announced() == {("image-stored", one.fetched.correlation_id) for one in made}


async def test_one_whose_bytes_came_whole_before_takes_that_file(world: World) -> None:
    one = await world.large("http://a/")
    [(held, _)] = await world.blobs.store([Blob(one.fetched.sha256, one.content, "image/tiff")])
    for event in one.all:
        await handle(world.handlers, event)
    await world.check_stored(one)
    assert await world.mongo["fs.chunks"].distinct("files_id") == [held]


async def test_one_that_lost_finds_the_winner_when_it_is_repeated_although_its_parts_are_gone(world: World) -> None:
    winner, loser = [await world.large(f"http://a/{number}", content=b"x" * (PART_BYTES + 1)) for number in (1, 2)]
    for event in [*winner.all, *loser.all]:
        await handle(world.handlers, event)
    before = await world.mongo["images"].find().to_list(None)
    [again] = await handle(world.handlers, loser.fetched)
    assert isinstance(again.event, events.ImageStored)
    # And when housekeeping has taken the winner's hash meanwhile, having looked just before the document referred to it.
    await world.mongo["fs.files"].update_many({}, {"$unset": {"metadata.sha256": ""}})
    [again] = await handle(world.handlers, loser.fetched)
    assert isinstance(again.event, events.ImageStored)
    assert await world.mongo["images"].find().to_list(None) == before


async def test_one_that_nobody_wants_any_more_is_not_waited_for(world: World) -> None:
    superseded, deleted = (await world.large("http://a/1"), await world.large("http://a/2"))
    await world.mongo["images"].update_one({"_id": superseded.fetched.image}, {"$set": {"revision": 2}})
    await world.mongo["images"].delete_one({"_id": deleted.fetched.image})
    for one in (superseded, deleted):
        await handle(world.handlers, one.parts[0])
        assert await handle(world.handlers, one.fetched) == []


# A storer dies

PART, CLOSE = "image-part", "image-fetched"
STEPS = {
    PART: ("fs.chunks.insert_many",),
    CLOSE: ("fs.files.insert_one", "images.bulk_write", "publish image-stored"),
    "image-fetched of what another file holds": ("images.bulk_write", "fs.files.insert_many", "fs.chunks.delete_many", "publish image-stored"),
}


def moments() -> list[Any]:
    rows = []
    for case, steps in STEPS.items():
        whens = [f"{when} {step}" for step in steps for when in ((BEFORE, FIRST, LAST) if case == PART else (BEFORE,))]
        rows += [pytest.param(case, moment, id=f"{case}, {moment}") for moment in (*whens, f"{AFTER} {steps[-1]}")]
    return rows


async def prepare(case: str, world: World) -> Large:
    """Leaves a storer what it will die of."""
    one = await world.large("http://a/unlucky")
    if case == PART:
        await world.publish(one.parts)
        return one
    if case != CLOSE:
        await world.blobs.store([Blob(one.fetched.sha256, one.content, "image/tiff")])
    for part in one.parts:
        await handle(world.handlers, part)
    await world.publish([one.fetched])
    return one


@pytest.mark.parametrize(("case", "moment"), moments())
async def test_a_storer_that_dies_anywhere_is_made_good_by_the_next(world: World, case: str, moment: str) -> None:
    one = await prepare(case, world)
    await die(world.amqp_url, moment, lambda url, crash: storer(url, world.mongo_url, crash))
    if case == PART:
        await world.publish([one.fetched])
    await world.ending.work_off(world.storers)
    await world.check_stored(one)
    await world.ending.sweep()
    assert await world.ending.counts() == (1, 3)
    assert await world.ending.dead_letters() == []
    assert await world.ending.announced() == {("image-stored", one.fetched.correlation_id)}


@pytest.mark.parametrize("case", STEPS)
async def test_the_table_has_every_step(world: World, case: str) -> None:
    await prepare(case, world)
    watched = Crash()
    await world.ending.work_off(lambda: storer(world.amqp_url, world.mongo_url, watched))
    assert tuple(dict.fromkeys(watched.steps)) == STEPS[case]


async def test_one_that_was_closed_but_never_referred_to_is_taken_up_although_housekeeping_has_marked_it(world: World) -> None:
    one = await world.large("http://a/")
    for part in one.parts:
        await handle(world.handlers, part)
    await world.blobs.close(world.handlers._parts._parted(one.fetched))
    mark: Any = [{"$set": {"metadata.unreferenced_at": "$$NOW"}}, {"$unset": "metadata.sha256"}]
    await world.mongo["fs.files"].update_many({}, mark)
    await handle(world.handlers, one.fetched)
    await world.check_stored(one)
    await world.ending.sweep()
    await world.check_stored(one)


# Dead letters


async def test_parts_that_never_come_make_a_dead_letter_and_replayed_after_the_dead_part_it_is_stored(world: World) -> None:
    one = await world.large("http://a/")
    await world.publish([one.parts[0], one.parts[2], replace(one.fetched, waits=MOST_WAITS)])
    async with world.storers(2), running_api(world.mongo_url, world.amqp_url) as api:
        await bury(world, one.parts[1])
        letters = await until(lambda: buried(world, 2))
        [fetched] = [letter for letter in letters if letter.type == "image-fetched"]
        [part] = [letter for letter in letters if letter.type == "image-part"]
        assert (fetched.queue, fetched.reason) == (topology.IMAGE_FETCHED.name, "rejected")
        assert "Replay the image-part messages" in fetched.detail
        assert await world.standing(one) == (1, "queued")
        for letter in (part, fetched):
            answer = await api.client.post(f"/dead-letters/{letter.id}/replay")
            assert answer.status_code == 202, answer.text
        await until(lambda: world.stored(one))
    await world.check_stored(one)


async def bury(world: World, event: events.Event) -> None:
    envelope = events.encode(event)
    deaths = [{"queue": next(queue.name for queue in topology.WORK if queue.routing_key == event.NAME), "reason": "rejected"}]
    await world.publisher.send(envelope._replace(headers={**envelope.headers, "x-death": deaths}), topology.DEAD.name)


async def buried(world: World, number: int) -> Any:
    letters = await world.dead_letters.page(limit=100, after=None)
    return letters if len(letters) == number else None


def with_parts(change: Callable[[Large], list[events.Event]]) -> Callable[[Large], list[events.Event]]:
    """What comes with two full parts and a short one, as they should be."""
    return lambda one: [*one.parts, *change(one)]


HOSTILE: dict[str, tuple[Callable[[Large], list[events.Event]], str]] = {
    "an empty part": (lambda one: [replace(one.parts[0], body=b"")], "It is no event"),
    "a part too long": (lambda one: [replace(one.parts[0], body=bytes(PART_BYTES + 1))], "It is no event"),
    "a part's number too high": (lambda one: [replace(one.parts[0], number=10**12)], "Its handler failed"),
    "no file": (with_parts(lambda one: [replace(one.fetched, file=None)]), "Parts of the image"),
    "a body, too": (with_parts(lambda one: [replace(one.fetched, body=b"x")]), "Parts of the image"),
    "too few parts": (with_parts(lambda one: [replace(one.fetched, parts=2)]), "Parts of the image"),
    "too many parts": (with_parts(lambda one: [replace(one.fetched, parts=2**31, size=2**51)]), "Parts of the image"),
    "no size": (with_parts(lambda one: [replace(one.fetched, size=0)]), "Parts of the image"),
    "another size": (with_parts(lambda one: [replace(one.fetched, size=one.fetched.size + 1)]), "Parts of the image"),
    "another size, and no parts yet": (lambda one: [replace(one.fetched, size=1)], "Parts of the image"),
    "no file's name": (lambda one: [replace(one.parts[0], file="$gt")], "It is no event"),
    "a part beyond": (with_parts(lambda one: [replace(one.parts[0], number=3), one.fetched]), "Parts of the image"),
    "a short part": (lambda one: [replace(one.parts[0], body=b"short"), one.parts[1], one.parts[2], one.fetched], "Parts of the image"),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_what_contradicts_itself_goes_to_the_dead_letters_at_once_and_nothing_of_it_is_seen(world: World, case: str) -> None:
    one = await world.large("http://a/")
    change, detail = HOSTILE[case]
    *first, last = change(one)
    async with world.storers():
        await world.publish(first)
        await until(lambda: chunks(world, len(first)))
        await world.publish([last])
        [letter] = await until(lambda: buried(world, 1))
        assert letter.detail.startswith(detail)
    assert await world.standing(one) == (1, "queued")
    assert await world.mongo["fs.files"].count_documents({"filename": one.fetched.sha256}) == 0
    assert not await waiting_in(world, LATER)


async def chunks(world: World, number: int) -> bool:
    return await world.mongo["fs.chunks"].count_documents({}) == number
