"""The images: one document for each URL, its queries and its indexes (ARCHITECTURE.md draws the states).

Whatever changes a document says which revision and which states it may start from, in the same operation: events arrive
repeated, late and out of order, and the document ends the same.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from pymongo import ASCENDING, DESCENDING, IndexModel, InsertOne, UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError

from shared.events import DownloadFailed, DownloadRequested
from shared.mongo import Document, unavailable, unhurried

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bson import ObjectId

    from shared.events import DownloadDelayed, ImageFetched
    from shared.mongo import Mongo
    from shared.urls import Url

log = logging.getLogger("bowerbird.catalog")

COLLECTION = "images"
MAX_ATTEMPTS = 100
"""As many of an image's latest failures are kept."""
DUPLICATE_KEY = 11000


class Status(StrEnum):
    """Where an image is on its way."""

    QUEUED = "queued"
    DELAYED = "delayed"
    STORED = "stored"
    FAILED = "failed"
    EXPANDED = "expanded"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """A download that failed. `took_ms` is in milliseconds."""

    revision: int
    number: int
    at: datetime
    took_ms: int
    reason: str
    detail: str


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """The document of an image, as far as anybody reads it."""

    id: str = msgspec.field(name="_id")
    url: str
    host: str
    status: Status
    revision: int
    added_at: datetime
    requested_at: datetime
    attempt: int = 0
    attempts: list[Attempt] = []
    next_attempt_at: datetime | None = None
    completed_at: datetime | None = None
    error: dict[str, str] | None = None
    file: Any = None  # the ObjectId of the GridFS file that holds the bytes
    sha256: str | None = None
    size: int | None = None
    format: str | None = None
    content_type: str | None = None
    width: int | None = None
    height: int | None = None
    final_url: str | None = None
    fetched_at: datetime | None = None
    took_ms: int | None = None

    def request(self) -> DownloadRequested:
        """The event that asks for this image's current revision."""
        return DownloadRequested(image=self.id, revision=self.revision, url=self.url, requested_at=self.requested_at)


class Position(NamedTuple):
    """A place in the list, newest first: after the image with these two."""

    added_at: datetime
    id: str


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What the list can be narrowed to."""

    status: Status | None = None


NEWEST_FIRST = [("added_at", DESCENDING), ("_id", DESCENDING)]
INDEXES = [
    IndexModel(NEWEST_FIRST, name="newest"),
    IndexModel([("status", ASCENDING), *NEWEST_FIRST], name="status"),
    # What the broker hasn't confirmed yet: nearly always empty.
    IndexModel([("requested_at", ASCENDING)], name="undispatched", partialFilterExpression={"dispatched": False}),
    # Which images hold a file: to know when nothing refers to it any more.
    IndexModel([("file", ASCENDING)], name="file", partialFilterExpression={"file": {"$exists": True}}),
]


class Catalog:
    """The collection of images. All times are UTC and, as in BSON, in whole milliseconds."""

    def __init__(self, mongo: Mongo) -> None:
        self._images = mongo[COLLECTION]

    async def create_indexes(self) -> None:
        """Safe to repeat, by any process."""
        with unavailable(), unhurried():
            await self._images.create_indexes(INDEXES)

    async def add(self, images: Sequence[tuple[str, Url]]) -> list[Image | None]:
        """Inserts an image, `queued` and not yet dispatched, for each id and URL; None for each that is known already."""
        at = now()
        documents = [_new_document(image, url, at) for image, url in images]
        known: set[int] = set()
        try:
            with unavailable():
                await self._images.bulk_write([InsertOne(document) for document in documents], ordered=False)
        except BulkWriteError as error:
            for failure in error.details["writeErrors"]:
                if failure["code"] != DUPLICATE_KEY:
                    raise
                known.add(failure["index"])
        return [None if i in known else _image(document) for i, document in enumerate(documents)]

    async def get(self, image: str) -> Image | None:
        """The image with this id."""
        with unavailable():
            document = await self._images.find_one({"_id": image})
        return _image(document) if document else None

    async def get_many(self, images: Sequence[str]) -> list[Image | None]:
        """The image with each of these ids, None for each that there isn't."""
        with unavailable():
            documents = await self._images.find({"_id": {"$in": list(set(images))}}).to_list(None)
        found = {document["_id"]: _image(document) for document in documents}
        return [found.get(image) for image in images]

    async def page(self, filters: Filters, *, limit: int, after: Position | None) -> list[Image]:
        """Up to `limit` images after a position, newest first. Costs the same at any depth."""
        query: Document = {name: value for name in filters.__struct_fields__ if (value := getattr(filters, name)) is not None}
        if after:
            # The first condition bounds the index scan, the second settles ties within a millisecond.
            query["added_at"] = {"$lte": after.added_at}
            query["$or"] = [{"added_at": {"$lt": after.added_at}}, {"_id": {"$lt": after.id}}]
        with unavailable():
            documents = await self._images.find(query).sort(NEWEST_FIRST).limit(limit).to_list(limit)
        return _readable(documents)

    async def undispatched(self, *, before: datetime, limit: int) -> list[Image]:
        """Images that were to be requested before a time and whose request no broker has confirmed; the oldest first."""
        query = {"dispatched": False, "requested_at": {"$lt": before}}
        with unavailable():
            documents = await self._images.find(query).sort("requested_at", ASCENDING).limit(limit).to_list(limit)
        return _readable(documents)

    async def dispatched(self, requests: Iterable[DownloadRequested]) -> None:
        """Notes that the broker has confirmed these requests."""
        revisions: dict[int, list[str]] = {}
        for request in requests:
            revisions.setdefault(request.revision, []).append(request.image)
        operations = [UpdateMany({"_id": {"$in": ids}, "revision": revision}, {"$unset": {"dispatched": ""}}) for revision, ids in revisions.items()]
        with unavailable():
            await self._images.bulk_write(operations, ordered=False)

    async def requeue(self, status: Status, *, limit: int, before: datetime) -> tuple[int, bool]:
        """Has up to `limit` images with a status, requested before a time, downloaded afresh, by way of the relay.

        Returns how many those are, and whether there may be more.

        A new revision, so that what may still be on its way for the former one changes nothing any more.
        """
        at = now()
        query = {"status": status, "requested_at": {"$lt": before}}
        with unavailable():
            found = await self._images.find(query, {"_id": 1}).sort(NEWEST_FIRST).limit(limit).to_list(limit)
            changed = await self._images.update_many(
                {"_id": {"$in": [document["_id"] for document in found]}, "status": status},
                {
                    "$inc": {"revision": 1},
                    "$set": {"status": Status.QUEUED, "attempt": 0, "dispatched": False, "requested_at": max(at, before)},
                    "$unset": {"error": "", "next_attempt_at": "", "completed_at": ""},
                },
            )
        return int(changed.modified_count), len(found) == limit

    async def standing(self, images: Iterable[str]) -> dict[str, tuple[int, Status]]:
        """The revision and status of each of these images that is there."""
        with unavailable():
            found = self._images.find({"_id": {"$in": list(images)}}, {"revision": 1, "status": 1})
            return {document["_id"]: (document["revision"], Status(document["status"])) async for document in found}

    async def settle(self, operations: Sequence[UpdateOne]) -> None:
        """Writes outcomes: what `stored` and `unfetched` made."""
        if operations:
            with unavailable():
                await self._images.bulk_write(list(operations), ordered=False)


def stored(event: ImageFetched, file: ObjectId) -> list[UpdateOne]:
    """The image has its bytes. Wins over every other outcome of the same revision, whichever arrives first."""
    fields = {
        "status": Status.STORED, "attempt": event.attempt, "file": file, "sha256": event.sha256, "size": event.length,
        "format": event.format, "content_type": event.content_type, "width": event.width, "height": event.height,
        "final_url": event.final_url, "etag": event.etag, "last_modified": event.last_modified,
        "fetched_at": event.fetched_at, "took_ms": event.took_ms, "completed_at": now(),
    }  # fmt: skip
    where = {"_id": event.image, "revision": event.revision, "status": {"$in": [Status.QUEUED, Status.DELAYED, Status.FAILED]}}
    done = {"dispatched": "", "error": "", "next_attempt_at": ""}
    return [UpdateOne(where, {"$set": fields, "$unset": done})]


def unfetched(event: DownloadDelayed | DownloadFailed) -> list[UpdateOne]:
    """The image hasn't its bytes: not yet, or not at all."""
    return _failed(event) if isinstance(event, DownloadFailed) else _delayed(event)


def _delayed(event: DownloadDelayed) -> list[UpdateOne]:
    """An attempt failed, another will follow."""
    where = {
        "_id": event.image, "revision": event.revision, "attempt": {"$lt": event.attempt},
        "status": {"$in": [Status.QUEUED, Status.DELAYED]},
    }  # fmt: skip
    fields = {"status": Status.DELAYED, "attempt": event.attempt, "next_attempt_at": event.next_attempt_at}
    return [_remember(event), UpdateOne(where, {"$set": fields, "$unset": {"dispatched": ""}})]


def _failed(event: DownloadFailed) -> list[UpdateOne]:
    """The last attempt failed."""
    where = {"_id": event.image, "revision": event.revision, "status": {"$in": [Status.QUEUED, Status.DELAYED]}}
    fields = {
        "status": Status.FAILED, "attempt": event.attempt, "completed_at": event.failed_at,
        "error": {"reason": event.reason, "detail": event.detail},
    }  # fmt: skip
    return [_remember(event), UpdateOne(where, {"$set": fields, "$unset": {"dispatched": "", "next_attempt_at": ""}})]


def _remember(event: DownloadDelayed | DownloadFailed) -> UpdateOne:
    """Adds an attempt to the history, once, in its place."""
    attempt = {
        "revision": event.revision,
        "number": event.attempt,
        "at": event.failed_at,
        "took_ms": event.took_ms,
        "reason": event.reason,
        "detail": event.detail,
    }
    same = {"revision": event.revision, "number": event.attempt}
    where = {"_id": event.image, "revision": event.revision, "attempts": {"$not": {"$elemMatch": same}}}
    return UpdateOne(where, {"$push": {"attempts": {"$each": [attempt], "$sort": {"at": 1}, "$slice": -MAX_ATTEMPTS}}})


def _new_document(image: str, url: Url, at: datetime) -> Document:
    return {
        "_id": image, "url": url.href, "host": url.host, "status": Status.QUEUED, "revision": 1,
        "added_at": at, "requested_at": at, "attempt": 0, "attempts": [], "dispatched": False,
    }  # fmt: skip


def _readable(documents: Iterable[Document]) -> list[Image]:
    """Those that this version can read: one from a newer version must not hide all others, nor hold up the relay."""
    images = []
    for document in documents:
        try:
            images.append(_image(document))
        except msgspec.ValidationError as error:
            log.warning("a document that this version can't read", extra={"image": document.get("_id"), "error": str(error)})
    return images


def _image(document: Document) -> Image:
    return msgspec.convert(document, Image)


def now() -> datetime:
    """The time as MongoDB keeps it: in whole milliseconds."""
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)
