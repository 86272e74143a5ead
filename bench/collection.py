"""A collection of any size: documents as the project makes them, copied from one that it made, with another URL, host, status and time each."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pymongo
from bson import ObjectId
from pymongo import WriteConcern

from bench import crew, machine
from shared.blobs import Blobs
from shared.catalog import COLLECTION, Catalog
from shared.mongo import Mongo
from shared.urls import image_id

if TYPE_CHECKING:
    from bench.crew import Go
    from bench.world import Room

BATCH = 1000
START = datetime(2026, 1, 1, tzinfo=UTC)
AT_ONCE = 3
"""Documents of the same millisecond, as bursts make them."""
STATUSES = ("stored",) * 8 + ("failed", "queued")
FORMATS = ("jpeg",) * 6 + ("png",) * 3 + ("webp",)
LARGE_HOST = "host-0.example"
PAGE_IMAGES, BATCH_IMAGES = 1000, 10_000
"""As many as a page, and a batch, can have by default."""
SECONDS = 900.0


def page(number: int) -> str:
    """The id of page `number`."""
    return image_id(f"https://{LARGE_HOST}/pages/{number}")


def batch(number: int) -> str:
    """The id of batch `number`."""
    return f"{number:032x}"


def owners(number: int) -> dict[str, list[str]]:
    """Of document `number`: a fifth of them are on pages, a fifth are of batches."""
    nth, kind = divmod(number, 5)
    return {0: {"in": [page(nth // PAGE_IMAGES)]}, 1: {"in": [batch(nth // BATCH_IMAGES)]}}.get(kind, {})


def added_at(number: int) -> datetime:
    """When document `number` was added."""
    return START + timedelta(milliseconds=number // AT_ONCE)


def document(template: dict[str, Any], number: int) -> dict[str, Any]:
    """Document `number`. A quarter is of one host; the rest is spread over a thousand."""
    host = LARGE_HOST if number % 4 == 0 else f"host-{number % 1000}.example"
    url = f"https://{host}/pictures/{number}.jpg"
    at = added_at(number)
    return template | {
        "_id": image_id(url), "url": url, "final_url": url, "host": host, "status": STATUSES[number % 10], "format": FORMATS[number * 7 % 10],
        "added_at": at, "requested_at": at, "completed_at": at, "fetched_at": at, "file": ObjectId(),
        **owners(number),
    }  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fill:
    """One process's part of the documents. Nothing is lost if this is: they needn't be durable."""

    mongo_url: str
    template: dict[str, Any]
    numbers: range

    async def __call__(self, go: Go) -> int:
        """How many."""
        await go()
        with pymongo.MongoClient[dict[str, Any]](self.mongo_url) as client:
            images = client.get_default_database()[COLLECTION].with_options(write_concern=WriteConcern(1))
            for start in range(0, len(self.numbers), BATCH):
                images.insert_many([document(self.template, number) for number in self.numbers[start : start + BATCH]], ordered=False)
        return len(self.numbers)


async def fill(where: Room, template: dict[str, Any], numbers: range) -> None:
    """Adds documents. The indexes are made after, all at once, which is quicker than keeping them through millions of inserts."""
    await where.images.drop_indexes()
    processes = machine.cores()
    parts = [Fill(mongo_url=where.mongo_url, template=template, numbers=numbers[part::processes]) for part in range(processes)]
    await crew.together(parts, seconds=SECONDS)
    mongo = Mongo(where.mongo_url, timeout=SECONDS)
    try:
        for collection in (Catalog(mongo), Blobs(mongo)):
            await collection.create_indexes()
    finally:
        mongo.close()
