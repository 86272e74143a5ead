"""How many there are: of images by status, of failures by reason, of files and dead letters. Cheap, however many there are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import pymongo
from pymongo.errors import OperationFailure

from shared import catalog, dead_letters, listing
from shared.dispatch import RELAYED_AFTER
from shared.mongo import unavailable
from shared.status import Status

if TYPE_CHECKING:
    from shared.mongo import Document, Mongo

COUNT_SECONDS = 20.0
"""For all counts together; a million keys of an index take less than a second."""
MOST_COUNTED = 100_000
OLDEST_LOOKED_AT = 10_000
_BAD_HINT = 2


class Stored(NamedTuple):
    """Bytes of all files, as they are and as they are on disk; former copies, thumbnails and what housekeeping will take away count too."""

    files: int
    disk: int


class Census:
    """Counts. Those of images scan an index, but for the status that most images have, which is what is left of them all."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        self._images = mongo[catalog.COLLECTION]
        self._most = Status.STORED

    async def images(self) -> dict[Status, int]:
        """How many images have each status; nearly, while they change."""
        counts = dict.fromkeys(Status, 0)
        with pymongo.timeout(COUNT_SECONDS), unavailable():
            for status in Status:
                if status is not self._most:
                    counts[status] = await self._count({"status": status})
            # After the others: what is added meanwhile has the status that most have, rather than be missing.
            total = await self._images.estimated_document_count()
        counts[self._most] = max(0, total - sum(counts.values()))
        self._most = max(counts, key=lambda status: counts[status])
        return counts

    async def failures(self, *, newest: int) -> dict[str, int]:
        """The reasons for the newest failures (by when they were added), and how many have each, the most frequent first."""
        pipeline: list[Document] = [
            {"$match": {"status": Status.FAILED}},
            {"$sort": dict(listing.NEWEST_FIRST)},
            {"$limit": newest},
            {"$group": {"_id": "$error.reason", "images": {"$sum": 1}}},
            {"$sort": {"images": -1, "_id": 1}},
        ]
        with unavailable():
            groups = await self._images.aggregate(pipeline).to_list(None)
        return {str(group["_id"]): group["images"] for group in groups}

    async def bytes(self) -> Stored:
        """What all files take."""
        with unavailable():
            found = await self._mongo.database.command("collStats", "fs.chunks")
        return Stored(int(found.get("size", 0)), int(found.get("storageSize", 0)))

    async def dead_letters(self) -> int:
        """How many messages could not be processed."""
        with unavailable():
            return int(await self._mongo[dead_letters.COLLECTION].estimated_document_count())

    async def undispatched(self, *, most: int = MOST_COUNTED) -> int:
        """Images that wait for the relay, up to `most`: an outage can make any number of them."""
        waiting = {"dispatched": False, "requested_at": {"$lt": datetime.now(UTC) - RELAYED_AFTER}}
        with unavailable():
            return int(await self._images.count_documents(waiting, limit=most))

    async def oldest_queued(self) -> datetime | None:
        """When the first of the images that are queued was asked for; None if none is.

        Of those OLDEST_LOOKED_AT that were added first: an index has them in this order, and only images that are refreshed were added long before.
        """
        pipeline: list[Document] = [
            {"$match": {"status": Status.QUEUED}},
            {"$sort": {"added_at": 1, "_id": 1}},
            {"$limit": OLDEST_LOOKED_AT},
            {"$group": {"_id": None, "oldest": {"$min": "$requested_at"}}},
        ]
        with unavailable():
            groups = await self._images.aggregate(pipeline).to_list(None)
        return groups[0]["oldest"] if groups else None

    async def _count(self, query: Document) -> int:
        # Not count_documents, which is an aggregation and takes several times as long.
        command: Document = {"count": catalog.COLLECTION, "query": query}
        try:
            found = await self._mongo.database.command({**command, "hint": "status"})
        except OperationFailure as error:
            if error.code != _BAD_HINT:
                raise
            found = await self._mongo.database.command(command)  # the index isn't built yet
        return int(found["n"])
