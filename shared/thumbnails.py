"""The thumbnails: one document for each width of each file, which says where it is, or why there is none.

The thumbnail is a file of its own. Neither outlives what it was made of: housekeeping forgets the document once that file is gone, or about to
go, and then finds nothing that refers to the thumbnail any more.
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003  (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Any

import msgspec
from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from shared.blobs import Blob
from shared.mongo import unavailable, unhurried
from shared.status import now

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bson import ObjectId

    from shared.blobs import Blobs
    from shared.mongo import Document, Mongo

COLLECTION = "thumbnails"
CONTENT_TYPE = "image/webp"
INDEXES = [
    IndexModel([("of", ASCENDING), ("width", ASCENDING)], name="of", unique=True),
    IndexModel([("file", ASCENDING)], name="file", partialFilterExpression={"file": {"$exists": True}}),
]


class Thumbnail(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a thumbnail, `size` bytes; without a file there is a `problem`, which was found `at` a time."""

    at: datetime
    file: Any = None  # an ObjectId
    size: int = 0
    problem: str | None = None


class Thumbnails:
    """The collection of thumbnails. `of` is the file of which one is made, `width` the pixels that were asked for."""

    def __init__(self, mongo: Mongo, blobs: Blobs) -> None:
        self._thumbnails = mongo[COLLECTION]
        self._files = mongo["fs.files"]
        self._blobs = blobs

    async def create_indexes(self) -> None:
        """Safe to repeat, by any process."""
        with unavailable(), unhurried():
            await self._thumbnails.create_indexes(INDEXES)

    async def get_many(self, wanted: Sequence[tuple[ObjectId, int]]) -> list[Thumbnail | None]:
        """Each of these thumbnails, by file and width; None for each that wasn't made yet."""
        with unavailable():
            documents = await self._thumbnails.find({"of": {"$in": list({of for of, _ in wanted})}}).to_list(None)
        found = {(document["of"], document["width"]): msgspec.convert(document, Thumbnail) for document in documents}
        return [found.get(each) for each in wanted]

    async def keep(self, of: ObjectId, width: int, body: bytes) -> None:
        """Repeating it changes nothing."""
        [(file, _)] = await self._blobs.store([Blob(hashlib.sha256(body).hexdigest(), body, CONTENT_TYPE)])
        await self._note(of, width, {"$set": {"file": file, "size": len(body), "at": now()}, "$unset": {"problem": ""}})

    async def refuse(self, of: ObjectId, width: int, problem: str) -> None:
        """There is none, and trying again soon would come to the same."""
        await self._note(of, width, {"$set": {"problem": problem, "at": now()}, "$unset": {"file": "", "size": ""}})

    async def after(self, thumbnail: ObjectId, *, limit: int) -> list[ObjectId]:
        """The ids of the next documents."""
        with unavailable():
            found = self._thumbnails.find({"_id": {"$gt": thumbnail}}, {"_id": 1}).sort("_id", ASCENDING).limit(limit)
            return [document["_id"] async for document in found]

    async def prune(self, thumbnails: Collection[ObjectId]) -> int:
        """Forgets those of these documents whose files are gone, or marked to go; how many those were."""
        with unavailable():
            documents = await self._thumbnails.find({"_id": {"$in": list(thumbnails)}}, {"of": 1}).to_list(None)
            files = list({document["of"] for document in documents})
            needed = self._files.find({"_id": {"$in": files}, "metadata.unreferenced_at": None}, {"_id": 1})
            held = {file["_id"] async for file in needed}
            gone = [document["_id"] for document in documents if document["of"] not in held]
            return int((await self._thumbnails.delete_many({"_id": {"$in": gone}})).deleted_count) if gone else 0

    async def referring(self, files: Sequence[ObjectId]) -> set[ObjectId]:
        """Which of these files are thumbnails."""
        with unavailable():
            return set(await self._thumbnails.distinct("file", {"file": {"$in": list(files)}}))

    async def _note(self, of: ObjectId, width: int, change: Document) -> None:
        key = {"of": of, "width": width}
        try:
            with unavailable():
                await self._thumbnails.update_one(key, change, upsert=True)
        except DuplicateKeyError:  # another process made the same document at the same moment
            with unavailable():
                await self._thumbnails.update_one(key, change)
