"""The batches: one document for each list of URLs that was submitted at once. Its images say that they belong to it (shared/image.py)."""

from __future__ import annotations

import re
from datetime import datetime  # noqa: TC003  (msgspec resolves it at run time)
from typing import TYPE_CHECKING

import msgspec
from pymongo import ASCENDING, IndexModel, ReturnDocument

from shared import tracing
from shared.mongo import unavailable, unhurried
from shared.status import now

if TYPE_CHECKING:
    from shared.mongo import Document, Mongo

COLLECTION = "batches"
BATCH_ID = re.compile(r"[0-9a-f]{32}")
"""Unlike an image's, so that the two can be told apart among what an image belongs to."""

INDEXES = [
    # Those whose images are still on their way: few.
    IndexModel([("open", ASCENDING), ("_id", ASCENDING)], name="open", partialFilterExpression={"open": True})
]


class Fates(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the lines of a batch: so many images are new, so many were known, so many lines repeat another, so many are refused."""

    accepted: int
    known: int
    repeated: int
    refused: int


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """The document of a batch. `fates` is missing until all of its lines are recorded, `completed_at` until each image is settled."""

    id: str = msgspec.field(name="_id")
    added_at: datetime
    fingerprint: str
    total: int
    fates: Fates | None = None
    callback: str | None = None
    completed_at: datetime | None = None
    trace: str | None = None  # what submitted it (shared/tracing.py)


class Batches:
    """The collection of batches."""

    def __init__(self, mongo: Mongo) -> None:
        self._batches = mongo[COLLECTION]

    async def create_indexes(self) -> None:
        """Safe to repeat, by any process."""
        with unavailable(), unhurried():
            await self._batches.create_indexes(INDEXES)

    async def begin(self, batch: str, *, fingerprint: str, total: int, callback: str | None) -> Batch:
        """The batch with this id, added unless it is there."""
        document: Document = {"added_at": now(), "fingerprint": fingerprint, "total": total}
        document |= {name: value for name, value in (("callback", callback), ("trace", tracing.cause())) if value}
        with unavailable():
            return _batch(
                await self._batches.find_one_and_update({"_id": batch}, {"$setOnInsert": document}, upsert=True, return_document=ReturnDocument.AFTER)
            )

    async def record(self, batch: str, fates: Fates) -> Batch:
        """Notes what became of the lines, the first time; from then on the batch can be completed."""
        with unavailable():
            await self._batches.update_one(
                {"_id": batch, "fates": {"$exists": False}}, {"$set": {"fates": msgspec.structs.asdict(fates), "open": True}}
            )
            return _batch(await self._batches.find_one({"_id": batch}))

    async def get(self, batch: str) -> Batch | None:
        """The batch with this id."""
        with unavailable():
            found = await self._batches.find_one({"_id": batch})
        return _batch(found) if found else None

    async def open(self, *, limit: int, after: str = "") -> list[Batch]:
        """Up to `limit` batches that aren't known to be complete, in the order of their ids."""
        with unavailable():
            found = await self._batches.find({"open": True, "_id": {"$gt": after}}).sort("_id", ASCENDING).limit(limit).to_list(limit)
        return [_batch(document) for document in found]

    async def complete(self, batch: str, at: datetime) -> None:
        """Every image is settled. Repeating it changes nothing."""
        with unavailable():
            await self._batches.update_one({"_id": batch, "open": True}, {"$set": {"completed_at": at}, "$unset": {"open": ""}})


def _batch(document: Document | None) -> Batch:
    return msgspec.convert(document, Batch)
