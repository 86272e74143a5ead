"""The images: one document for each URL. Its queries are here, what outcomes change in shared/outcomes.py, lists in shared/listing.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pymongo import ASCENDING, IndexModel, InsertOne, ReturnDocument, UpdateMany
from pymongo.errors import BulkWriteError, OperationFailure

from shared import listing, outcomes, tracing
from shared.image import Addition, Image, Standing, new_document, read, read_all
from shared.mongo import Document, unavailable, unhurried
from shared.status import WAITING, Status, now

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
    from datetime import datetime

    from bson import ObjectId
    from pymongo import UpdateOne

    from shared.events import DownloadRequested, ImageFetched
    from shared.listing import Filters, Position
    from shared.mongo import Mongo

COLLECTION = "images"
MAX_OWNERS = 1000
"""As many pages and batches are remembered for an image, the newest: a logo can be on all pages of the world."""

_SHORT = {"in": 0, "versions": 0}
_DISPATCHED = {"$unset": {"dispatched": ""}}
DUPLICATE_KEY = 11000
_BAD_HINT = 2

Found = TypeVar("Found")

INDEXES = [
    *listing.INDEXES,
    # What the broker hasn't confirmed yet: nearly always empty.
    IndexModel([("requested_at", ASCENDING)], name="undispatched", partialFilterExpression={"dispatched": False}),
    # Which images hold a file, now or as a version: to know when nothing refers to it any more.
    IndexModel([("file", ASCENDING)], name="file", partialFilterExpression={"file": {"$exists": True}}),
    IndexModel([("versions.file", ASCENDING)], name="versions", partialFilterExpression={"versions.file": {"$exists": True}}),
]


class Catalog:
    """The collection of images. All times are UTC and, as in BSON, in whole milliseconds."""

    def __init__(self, mongo: Mongo) -> None:
        self._images = mongo[COLLECTION]

    async def create_indexes(self) -> None:
        """Safe to repeat, by any process."""
        with unavailable(), unhurried():
            await self._images.create_indexes(INDEXES)

    async def add(self, additions: Sequence[Addition]) -> list[Image | None]:
        """Inserts each image, `queued` and not yet dispatched; None for each that is known already, to which its owner is added."""
        at = now()
        documents = [new_document(addition, at) for addition in additions]
        known: set[int] = set()
        try:
            with unavailable():
                await self._images.bulk_write([InsertOne(document) for document in documents], ordered=False)
        except BulkWriteError as error:
            for failure in error.details["writeErrors"]:
                if failure["code"] != DUPLICATE_KEY:
                    raise
                known.add(failure["index"])
            await self._claim([additions[i] for i in known])
        images = [None if i in known else read(document) for i, document in enumerate(documents)]
        gone = await self._gone([(i, additions[i].id) for i in sorted(known) if additions[i].owner is not None])
        if gone:
            # With a page that was deleted between the two: a page or batch that has it now would be left without it.
            for i, image in zip(gone, await self.add([additions[i] for i in gone]), strict=True):
                images[i] = image
        return images

    async def _gone(self, numbered: list[tuple[int, str]]) -> list[int]:
        """The numbers of the images that aren't there."""
        if not numbered:
            return []
        with unavailable():
            there = {one["_id"] async for one in self._images.find({"_id": {"$in": [image for _, image in numbered]}}, {"_id": 1})}
        return [number for number, image in numbered if image not in there]

    async def _claim(self, additions: Iterable[Addition]) -> None:
        """Images that were known: who has them now, and that somebody asked for them."""
        groups: dict[tuple[str | None, bool], list[str]] = {}
        for addition in additions:
            groups.setdefault((addition.owner, addition.found), []).append(addition.id)
        operations = []
        for (owner, found), images in groups.items():
            if not found:
                operations.append(UpdateMany({"_id": {"$in": images}, "found": True}, {"$unset": {"found": ""}}))
            if owner is not None:
                push = {"$push": {"in": {"$each": [owner], "$slice": -MAX_OWNERS}}}
                operations.append(UpdateMany({"_id": {"$in": images}, "in": {"$ne": owner}}, push))
        if operations:
            with unavailable():
                await self._images.bulk_write(operations, ordered=False)

    async def get(self, image: str) -> Image | None:
        """The image with this id, its owners and versions included."""
        with unavailable():
            document = await self._images.find_one({"_id": image})
        return read(document) if document else None

    async def get_many(self, images: Sequence[str]) -> list[Image | None]:
        """The image with each of these ids, without its versions; None for each that there isn't."""
        with unavailable():
            documents = await self._images.find({"_id": {"$in": list(set(images))}}, {"versions": 0}).to_list(None)
        found = {document["_id"]: read(document) for document in documents}
        return [found.get(image) for image in images]

    async def page(self, filters: Filters, *, limit: int, after: Position | None) -> list[Image]:
        """Up to `limit` images after a position, newest first, without owners and versions. Costs the same at any depth."""
        query, index = listing.query(filters, after)
        sort = listing.NEWEST_FIRST
        return read_all(await _by(index, lambda hint: self._images.find(query, _SHORT, sort=sort, limit=limit, **hint).to_list(limit)))

    async def counts(self, owner: str) -> dict[Status, int]:
        """How many images of a page or batch have each status."""
        pipeline: list[Document] = [{"$match": {"in": owner}}, {"$group": {"_id": "$status", "images": {"$sum": 1}}}]
        groups = await _by("in", lambda hint: self._images.aggregate(pipeline, **hint).to_list(None))
        found = {group["_id"]: group["images"] for group in groups}
        return {status: found.get(status, 0) for status in Status}

    async def waits(self, owner: str) -> bool:
        """Whether any image of a page or batch is still on its way."""
        query = {"in": owner, "status": {"$in": list(WAITING)}}
        return await _by("in", lambda hint: self._images.find_one(query, {"_id": 1}, **hint)) is not None

    async def added_by(self, batch: str, *, since: datetime) -> set[str]:
        """The images that a batch, added at a time, was the first to have."""
        query = {"in": batch, "in.0": batch, "added_at": {"$gte": since}}
        documents = await _by("in", lambda hint: self._images.find(query, {"_id": 1}, **hint).to_list(None))
        return {document["_id"] for document in documents}

    async def undispatched(self, *, before: datetime, limit: int, owner: str | None = None) -> list[Image]:
        """Images that were to be requested before a time and whose request no broker has confirmed; the oldest first."""
        query: Document = {"dispatched": False, "requested_at": {"$lt": before}} | ({"in": owner} if owner else {})
        with unavailable():
            documents = await self._images.find(query, _SHORT).sort("requested_at", ASCENDING).limit(limit).to_list(limit)
        return read_all(documents)

    async def dispatched(self, requests: Collection[DownloadRequested]) -> None:
        """Notes that the broker has confirmed these requests, of images that haven't come further in the meantime."""
        revisions = {request.image: request.revision for request in requests}
        by_revision: dict[int, list[str]] = {}
        with unavailable():
            # As a list: one by one is more work for motor, which is felt with 20,000 URLs a second.
            left = await self._images.find({"_id": {"$in": list(revisions)}, "dispatched": False}, {"revision": 1}, hint="_id_").to_list(None)
            for one in left:
                if one["revision"] == revisions[one["_id"]]:
                    by_revision.setdefault(one["revision"], []).append(one["_id"])
            if by_revision:
                marks = [UpdateMany({"_id": {"$in": ids}, "revision": revision}, _DISPATCHED) for revision, ids in by_revision.items()]
                await self._images.bulk_write(marks, ordered=False)

    async def refresh(self, image: str, *, callback: str | None = None) -> tuple[Image, bool] | None:
        """Has an image downloaded again, unless that is under way: the image, and whether it is now. None for an unknown one."""
        # Whoever asks for it by its own URL makes it theirs: it doesn't go with the page that it was found on any more.
        asking: Document = {"$unset": {"found": ""}} | ({"$set": {"callback": callback}} if callback else {})
        change = outcomes.refreshed(now(), tracing.cause())
        for operator, fields in asking.items():
            change[operator] |= fields
        where = outcomes.may_be_refreshed({"_id": image})
        with unavailable():
            document = await self._images.find_one_and_update(where, change, return_document=ReturnDocument.AFTER)
            if document:
                return read(document), True
            under_way = await self._images.find_one_and_update({"_id": image}, asking, return_document=ReturnDocument.AFTER)
        return (read(under_way), False) if under_way else None

    async def requeue(self, status: Status, *, limit: int, before: datetime) -> tuple[int, bool]:
        """Has up to `limit` images with a status, requested before a time, downloaded afresh, by way of the relay.

        Returns how many those are, and whether there may be more.
        """
        at = now()
        query = {"status": status, "requested_at": {"$lt": before}}
        with unavailable():
            found = await self._images.find(query, {"_id": 1}).sort(listing.NEWEST_FIRST).limit(limit).to_list(limit)
            changed = await self._images.update_many(
                {"_id": {"$in": [document["_id"] for document in found]}, "status": status},
                outcomes.refreshed(max(at, before), tracing.cause(of_many=True)),
            )
        return int(changed.modified_count), len(found) == limit

    async def standing(self, images: Iterable[str]) -> dict[str, Standing]:
        """How far each of these images is, of those that are there."""
        with unavailable():
            fields = {"revision": 1, "status": 1, "url": 1, "callback": 1, "in": 1}
            found = await self._images.find({"_id": {"$in": list(images)}}, fields).to_list(None)
        return {
            one["_id"]: Standing(one["revision"], Status(one["status"]), one["url"], one.get("callback"), one.get("in", []))
            for one in found
        }  # fmt: skip

    async def settle(self, operations: Sequence[UpdateOne]) -> int:
        """Writes outcomes (shared/outcomes.py); how many found a document that they apply to."""
        if not operations:
            return 0
        with unavailable():
            return int((await self._images.bulk_write(list(operations), ordered=False)).matched_count)

    async def store(self, copies: Sequence[tuple[ImageFetched, ObjectId]]) -> None:
        """Writes that images have bytes, each of them with its file."""
        written = await self.settle([outcomes.stored(event, file) for event, file in copies])
        if written < len(copies):
            # Some had a copy before, were pages, or were stored by an earlier delivery: an update for those costs more, and they are few.
            await self._let_go([event for event, _ in copies])
            await self.settle([operation for event, file in copies for operation in outcomes.replaced(event, file)])

    async def _let_go(self, events: list[ImageFetched]) -> None:
        """Takes their images from those that were pages; before they are none any more, or a crash in between would leave it undone."""
        with unavailable():
            pages = [document["_id"] async for document in self._images.find({"$or": [outcomes.of_page(event) for event in events]}, {"_id": 1})]
        for page in pages:
            await self.unbind(page)

    async def mark_shared(self, files: Collection[ObjectId]) -> None:
        """Notes which of these files are kept for more than one image: a message that came twice finds its own."""
        for file in files:
            with unavailable():
                if await self._images.count_documents({"file": file}, limit=2) > 1:
                    await self._images.update_many({"file": file, "shared": {"$ne": True}}, {"$set": {"shared": True}})

    async def same_bytes(self, image: Image, *, limit: int) -> list[str]:
        """Other images for which the same file is kept."""
        if not image.shared or image.file is None:
            return []
        with unavailable():
            found = self._images.find({"file": image.file, "_id": {"$ne": image.id}}, {"_id": 1}).limit(limit)
            return [document["_id"] async for document in found]

    async def unbind(self, owner: str, *, keep: Collection[str] = ()) -> int:
        """Takes a page from its images, except from those to keep; how many those were."""
        with unavailable():
            changed = await self._images.update_many({"in": owner, "_id": {"$nin": list(keep)}}, {"$pull": {"in": owner}})
        return int(changed.modified_count)

    async def refresh_all(self, owner: str, *, before: datetime) -> int:
        """Has the images of a page, as far as they weren't asked for since a time, downloaded again; how many those are."""
        where = outcomes.may_be_refreshed({"in": owner, "requested_at": {"$lt": before}})
        with unavailable():
            return int((await self._images.update_many(where, outcomes.refreshed(now(), tracing.cause(of_many=True)))).modified_count)

    async def delete(self, image: str) -> Image | None:
        """Takes an image out; what was there. Its file goes with the housekeeping, if nothing else refers to it."""
        with unavailable():
            document = await self._images.find_one_and_delete({"_id": image})
        return read(document) if document else None

    async def delete_images_of(self, owner: str) -> int:
        """Takes out the images that only this page has, and that nobody asked for by their own URLs; how many those were."""
        with unavailable():
            return int((await self._images.delete_many({"in": [owner], "found": True})).deleted_count)

    async def delete_version(self, image: str, sha256: str) -> bool:
        """Forgets the former copies with these bytes; whether there were any."""
        with unavailable():
            changed = await self._images.update_one({"_id": image}, {"$pull": {"versions": {"sha256": sha256}}})
        return changed.modified_count == 1


async def _by(index: str, look: Callable[[dict[str, str]], Awaitable[Found]]) -> Found:
    """What is found with an index that is named, or MongoDB tries several, and keeps to the one that did best for somebody else's values."""
    try:
        with unavailable():
            return await look({"hint": index})
    except OperationFailure as error:
        if error.code != _BAD_HINT:
            raise
    # It isn't built yet: in an empty database that takes a moment, in a full one longer than this operation may.
    with unavailable():
        return await look({})
