"""What crashes and deletions leave behind: files to which nothing refers, chunks without a file, thumbnails of what is gone.

A file is deleted in two steps, an hour apart (BOWERBIRD_KEEP_UNREFERENCED), that a concurrent store can't lose against. First its sha256 is
taken away, so that no store finds it any more; a store that found it just before has an hour to write its reference. Then, if nothing refers to
it still, it goes: chunks first, so that a crash in between leaves a file to finish with, rather than chunks that nobody knows.

A sweep looks at so many files and so many chunks, and the next goes on from there: it takes a moment, however large the store is.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bson import ObjectId
from pymongo import ASCENDING
from pymongo.errors import DuplicateKeyError

from shared.absence import MONGODB
from shared.blobs import Blobs
from shared.catalog import COLLECTION
from shared.errors import StoreUnavailable
from shared.mongo import Document, unavailable
from shared.thumbnails import Thumbnails

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shared.dead_letters import DeadLetters
    from shared.leases import Lease
    from shared.mongo import Mongo

log = logging.getLogger("bowerbird.housekeeping")

EVERY = timedelta(minutes=10)
ORPHANED_FOR = timedelta(days=1)
PAGE = 1000
PAGES = 100
"""At most, of each kind, in one sweep."""
POSITIONS = "housekeeping"
"""The collection that says where the next sweep begins."""
START = ObjectId("0" * 24)


class Housekeeping:
    """One sweep at a time, by whichever storer holds the lease.

    What nothing has referred to for `unreferenced_for` is marked, and deleted as much later; chunks without a file go when all of the file's
    were written `orphaned_for` ago. A sweep looks at `pages` pages of `page` files, and of as many chunks.
    """

    def __init__(
        self,
        mongo: Mongo,
        dead_letters: DeadLetters,
        *,
        unreferenced_for: timedelta,
        orphaned_for: timedelta = ORPHANED_FOR,
        page: int = PAGE,
        pages: int = PAGES,
    ) -> None:
        self.every = min(EVERY, unreferenced_for / 6)
        self._positions = mongo[POSITIONS]
        self._blobs = Blobs(mongo)
        self._page = page
        self._pages = pages
        self._files = mongo["fs.files"]
        self._chunks = mongo["fs.chunks"]
        self._images = mongo[COLLECTION]
        self._dead_letters = dead_letters
        self._thumbnails = Thumbnails(mongo, self._blobs)
        self._unreferenced_for = unreferenced_for
        self._orphaned_for = orphaned_for

    async def run(self, lease: Lease) -> None:
        """Sweeps for ever; what fails is tried again at the next sweep."""
        while True:
            try:
                if await lease.hold():
                    await self.sweep()
            except StoreUnavailable as error:
                MONGODB.noted(error)
            except Exception:
                log.exception("a sweep failed, and the next will try again")
            await asyncio.sleep(self.every.total_seconds())

    async def sweep(self) -> dict[str, int]:
        """A round, or as much of it as one sweep takes; returns how many of each were dealt with."""
        counts = {
            "deleted": await self._delete_marked(),
            "marked": await self._go_on("files", self._unmarked, self._mark),
            "orphans": await self._go_on("chunks", self._filed, self._delete_orphans),
            "thumbnails": await self._go_on("thumbnails", lambda after: self._thumbnails.after(after, limit=self._page), self._thumbnails.prune),
        }
        if any(counts.values()):
            log.info("swept", extra=counts)
        return counts

    async def _go_on(self, kind: str, page: Callable[[ObjectId], Awaitable[list[ObjectId]]], act: Callable[[list[ObjectId]], Awaitable[int]]) -> int:
        """Acts on each page from where the last sweep stopped; when there is none any more, the next begins anew."""
        with unavailable():
            position = await self._positions.find_one({"_id": kind})
        count, after = 0, position["after"] if position else START
        for _ in range(self._pages):
            ids = await page(after)
            if not ids:
                after = START
                break
            count += await act(ids)
            after = ids[-1]
        with unavailable():
            await self._positions.update_one({"_id": kind}, {"$set": {"after": after}}, upsert=True)
        return count

    async def _delete_marked(self) -> int:
        count = 0
        for _ in range(self._pages):
            marked = {"metadata.unreferenced_at": {"$lt": datetime.now(UTC) - self._unreferenced_for}}
            with unavailable():
                found = self._files.find(marked, {"_id": 1}).sort("metadata.unreferenced_at", ASCENDING).limit(self._page)
                ids = [file["_id"] async for file in found]
            if not ids:
                break
            count += await self._finish(ids)
        return count

    async def _unmarked(self, after: ObjectId) -> list[ObjectId]:
        """Files after this one that are old enough for a mark."""
        query = {"_id": {"$gt": after}, "metadata.unreferenced_at": None, "uploadDate": {"$lt": datetime.now(UTC) - self._unreferenced_for}}
        with unavailable():
            return [file["_id"] async for file in self._files.find(query, {"_id": 1}).sort("_id", ASCENDING).limit(self._page)]

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

    async def _filed(self, after: ObjectId) -> list[ObjectId]:
        """The file ids, after this one, of the next chunks, as far as they are old enough; an index scan."""
        query = {"files_id": {"$gt": after, "$lt": self._long_ago()}}
        with unavailable():
            found = self._chunks.find(query, {"_id": 0, "files_id": 1}).sort("files_id", ASCENDING).limit(self._page)
            return sorted({chunk["files_id"] async for chunk in found})

    async def _delete_orphans(self, files: list[ObjectId]) -> int:
        with unavailable():
            known = {file["_id"] async for file in self._files.find({"_id": {"$in": files}}, {"_id": 1})}
        unknown = [file for file in files if file not in known]
        if not unknown:
            return 0
        # Parts can arrive long after their file's id was made, when storers were away: how old the file is, its latest chunk says.
        with unavailable():
            young = set(await self._chunks.distinct("files_id", {"files_id": {"$in": unknown}, "_id": {"$gte": self._long_ago()}}))
        orphaned = [file for file in unknown if file not in young]
        return await self._blobs.discard(orphaned) if orphaned else 0

    def _long_ago(self) -> ObjectId:
        return ObjectId.from_datetime(datetime.now(UTC) - self._orphaned_for)

    async def _referred_to(self, files: list[ObjectId]) -> set[ObjectId]:
        with unavailable():
            current = await self._images.distinct("file", {"file": {"$in": files}})
            former = await self._images.distinct("versions.file", {"versions.file": {"$in": files}})
        # An image's other versions come along.
        return {*current, *former}.intersection(files) | await self._dead_letters.referring(files) | await self._thumbnails.referring(files)
