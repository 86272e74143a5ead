"""What crashes and deletions leave behind: files to which nothing refers, and chunks without a file.

A file is deleted in two steps, an hour apart, that a concurrent store can't lose against. First its sha256 is taken away, so that no store
finds it any more; a store that found it just before has an hour to write its reference. Then, if nothing refers to it still, it goes:
chunks first, so that a crash in between leaves a file to finish with, rather than chunks that nobody knows.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bson import ObjectId
from pymongo import ASCENDING
from pymongo.errors import DuplicateKeyError

from shared.catalog import COLLECTION
from shared.errors import StoreUnavailable
from shared.mongo import Document, unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from shared.dead_letters import DeadLetters
    from shared.leases import Lease
    from shared.mongo import Mongo

log = logging.getLogger("bowerbird.housekeeping")

EVERY = timedelta(minutes=10)
UNREFERENCED_FOR = timedelta(hours=1)
ORPHANED_FOR = timedelta(days=1)
PAGE = 1000


class Housekeeping:
    """One sweep at a time, by whichever storer holds the lease."""

    def __init__(
        self,
        mongo: Mongo,
        dead_letters: DeadLetters,
        *,
        unreferenced_for: timedelta = UNREFERENCED_FOR,
        orphaned_for: timedelta = ORPHANED_FOR,
    ) -> None:
        self._files = mongo["fs.files"]
        self._chunks = mongo["fs.chunks"]
        self._images = mongo[COLLECTION]
        self._dead_letters = dead_letters
        self._unreferenced_for = unreferenced_for
        self._orphaned_for = orphaned_for

    async def run(self, lease: Lease, *, every: timedelta = EVERY) -> None:
        """Sweeps for ever; what fails is tried again at the next sweep."""
        while True:
            try:
                if await lease.hold():
                    await self.sweep()
            except StoreUnavailable as error:
                log.warning("put off", extra={"error": str(error)})
            except Exception:
                log.exception("a sweep failed, and the next will try again")
            await asyncio.sleep(every.total_seconds())

    async def sweep(self) -> dict[str, int]:
        """Everything once; returns how many of each were dealt with."""
        counts = {
            "deleted": await self._each_page(self._marked, self._finish),
            "marked": await self._each_page(self._unmarked, self._mark),
            "orphans": await self._delete_orphans(),
        }
        if any(counts.values()):
            log.info("swept", extra=counts)
        return counts

    def _marked(self) -> Document:
        return {"metadata.unreferenced_at": {"$lt": datetime.now(UTC) - self._unreferenced_for}}

    def _unmarked(self) -> Document:
        return {"metadata.unreferenced_at": None, "uploadDate": {"$lt": datetime.now(UTC) - self._unreferenced_for}}

    async def _mark(self, files: list[ObjectId]) -> int:
        referred_to = await self._referred_to(files)
        unreferenced = [file for file in files if file not in referred_to]
        if not unreferenced:
            return 0
        with unavailable():
            await self._files.update_many(
                {"_id": {"$in": unreferenced}},
                {"$set": {"metadata.unreferenced_at": datetime.now(UTC)}, "$unset": {"metadata.sha256": ""}},
            )
        return len(unreferenced)

    async def _finish(self, files: list[ObjectId]) -> int:
        referred_to = await self._referred_to(files)
        for file in referred_to:
            await self._restore(file)
        gone = [file for file in files if file not in referred_to]
        if gone:
            with unavailable():
                await self._chunks.delete_many({"files_id": {"$in": gone}})
                await self._files.delete_many({"_id": {"$in": gone}})
        return len(gone)

    async def _restore(self, file: ObjectId) -> None:
        """A store had found it before it was marked, and refers to it now."""
        unmark: Document = {"$unset": {"metadata.unreferenced_at": ""}}
        with unavailable():
            document = await self._files.find_one({"_id": file}, {"filename": 1})
            if document is None:
                return
            try:
                # The file's name is its sha256.
                await self._files.update_one({"_id": file}, {**unmark, "$set": {"metadata.sha256": document["filename"]}})
            except DuplicateKeyError:  # the same bytes were stored anew since: that copy is found from now on, this one is kept
                await self._files.update_one({"_id": file}, unmark)

    async def _delete_orphans(self) -> int:
        deleted = 0
        before = ObjectId.from_datetime(datetime.now(UTC) - self._orphaned_for)
        async for ids in self._pages_of_chunks(before):
            with unavailable():
                known = {file["_id"] async for file in self._files.find({"_id": {"$in": ids}}, {"_id": 1})}
                orphans = [file for file in ids if file not in known]
                if orphans:
                    deleted += (await self._chunks.delete_many({"files_id": {"$in": orphans}})).deleted_count
        return deleted

    async def _pages_of_chunks(self, before: ObjectId) -> AsyncIterator[list[ObjectId]]:
        """The file ids of all chunks, as far as they are older; an index scan."""
        last = ObjectId("0" * 24)
        while True:
            query = {"files_id": {"$gt": last, "$lt": before}}
            with unavailable():
                cursor = self._chunks.find(query, {"_id": 0, "files_id": 1}).sort("files_id", ASCENDING).limit(PAGE)
                ids = sorted({chunk["files_id"] async for chunk in cursor})
            if not ids:
                return
            yield ids
            last = ids[-1]

    async def _each_page(self, query: Callable[[], Document], act: Callable[[list[ObjectId]], Awaitable[int]]) -> int:
        count, last = 0, ObjectId("0" * 24)
        while True:
            with unavailable():
                cursor = self._files.find({**query(), "_id": {"$gt": last}}, {"_id": 1}).sort("_id", ASCENDING).limit(PAGE)
                ids = [file["_id"] async for file in cursor]
            if not ids:
                return count
            count += await act(ids)
            last = ids[-1]

    async def _referred_to(self, files: list[ObjectId]) -> set[ObjectId]:
        with unavailable():
            images = set(await self._images.distinct("file", {"file": {"$in": files}}))
        return images | await self._dead_letters.referring(files)
