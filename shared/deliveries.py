"""The deliveries: one document for each fact that somebody asked to be told of (docs/webhooks.md), with what came of each attempt.

An id is made from what it is about, so that a repeated step finds the delivery that it made before. Outcomes arrive repeated and late:
each counts for the replay that it names, a later replay over an earlier one, and within one delivered over failed over pending.
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec
from pymongo import ASCENDING, DESCENDING, IndexModel, ReturnDocument, UpdateOne

from shared.events import CallbackRequested
from shared.mongo import Document, unavailable, unhurried

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from shared.events import CallbackAttempted
    from shared.mongo import Mongo

COLLECTION = "deliveries"
DELIVERY_ID = re.compile(r"msg_[a-z2-7]{26}")
KEPT_FOR = timedelta(days=30)
"""So that the collection stays bounded; an attempt at a delivery follows the former one within hours."""
MAX_ATTEMPTS = 100
"""As many of a delivery's latest attempts are kept."""


class Kind(StrEnum):
    """What somebody is told. The names are those that receivers see."""

    IMAGE_STORED = "image.stored"
    IMAGE_FAILED = "image.failed"
    PAGE_EXPANDED = "page.expanded"
    BATCH_COMPLETED = "batch.completed"


OF_IMAGES = frozenset({Kind.IMAGE_STORED, Kind.IMAGE_FAILED, Kind.PAGE_EXPANDED})
OF_BATCHES = frozenset({Kind.BATCH_COMPLETED})


class Status(StrEnum):
    """How far a delivery has come."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One POST, over at `at`; `reason` is None if it was taken. `took_ms` is in milliseconds, `http_status` None if there was no answer."""

    replay: int
    number: int
    at: datetime
    took_ms: int
    http_status: int | None
    reason: str | None
    detail: str


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """The document of a delivery. `subject` is the id of the image or the batch that it is about, `payload` the JSON that is sent.

    `replay` and `attempt` are those of the latest attempt that is known.
    """

    id: str = msgspec.field(name="_id")
    subject: str
    revision: int
    kind: Kind
    url: str
    payload: str
    created_at: datetime
    status: Status = Status.PENDING
    replay: int = 0
    attempt: int = 0
    attempts: list[Attempt] = []
    next_attempt_at: datetime | None = None
    delivered_at: datetime | None = None

    def request(self, *, replay: int = 0) -> CallbackRequested:
        """The event that asks for its first attempt, or for the first of a replay."""
        return CallbackRequested(
            image=self.subject, revision=self.revision, delivery=self.id, url=self.url, payload=self.payload, replay=replay
        )  # fmt: skip

    @property
    def begun(self) -> bool:
        """Whether its first attempt has certainly been asked for."""
        return self.status is not Status.PENDING or self.attempt > 0 or self.replay > 0


NEWEST_FIRST = [("created_at", DESCENDING), ("_id", DESCENDING)]
INDEXES = [
    IndexModel([("subject", ASCENDING), *NEWEST_FIRST], name="subject"),
    IndexModel([("created_at", ASCENDING)], name="expiry", expireAfterSeconds=int(KEPT_FOR.total_seconds())),
]


def delivery_id(subject: str, revision: int, kind: Kind) -> str:
    """The id of the delivery of a fact: 130 bits of a SHA-256. It has no full stop, which the signature relies on."""
    digest = hashlib.sha256(f"{subject}\n{revision}\n{kind}".encode()).digest()
    return f"msg_{base64.b32encode(digest)[:26].decode().lower()}"


class Deliveries:
    """The collection of deliveries."""

    def __init__(self, mongo: Mongo) -> None:
        self._deliveries = mongo[COLLECTION]

    async def create_indexes(self) -> None:
        """Safe to repeat, by any process."""
        with unavailable(), unhurried():
            await self._deliveries.create_indexes(INDEXES)

    async def record(self, deliveries: Sequence[Delivery]) -> list[CallbackRequested | None]:
        """Inserts those that are new; durable when it returns. For each the event to publish, None if its attempts have begun already.

        One that was recorded before and has no attempt yet is to be published again: who recorded it may not have come to that.
        """
        operations = [UpdateOne({"_id": delivery.id}, {"$setOnInsert": _document(delivery)}, upsert=True) for delivery in deliveries]
        with unavailable():
            await self._deliveries.bulk_write(operations, ordered=False)
            documents = await self._deliveries.find({"_id": {"$in": [delivery.id for delivery in deliveries]}}).to_list(None)
        found = {document["_id"]: _delivery(document) for document in documents}
        # What is recorded is what is sent: a repeated step may have come to another time of day, or another URL.
        recorded = [found.get(delivery.id, delivery) for delivery in deliveries]
        return [None if delivery.begun else delivery.request() for delivery in recorded]

    async def get(self, delivery: str) -> Delivery | None:
        """The delivery with this id."""
        with unavailable():
            document = await self._deliveries.find_one({"_id": delivery})
        return _delivery(document) if document else None

    async def page(self, subject: str, kinds: Collection[Kind], *, limit: int, after: tuple[datetime, str] | None) -> list[Delivery]:
        """Up to `limit` deliveries about an image or a batch after a position, newest first."""
        query: Document = {"subject": subject, "kind": {"$in": list(kinds)}}
        if after:
            query["created_at"] = {"$lte": after[0]}
            query["$nor"] = [{"created_at": after[0], "_id": {"$gte": after[1]}}]  # as in shared/listing.py
        with unavailable():
            documents = await self._deliveries.find(query).sort(NEWEST_FIRST).limit(limit).to_list(limit)
        return [_delivery(document) for document in documents]

    async def replayed(self, request: CallbackRequested) -> Delivery | None:
        """Notes that the broker has confirmed a replay, unless an outcome of it is there already; the delivery as it is then."""
        where = {"_id": request.delivery, "replay": {"$lt": request.replay}}
        with unavailable():
            document = await self._deliveries.find_one_and_update(
                where, _standing(Status.PENDING, request.replay, 0), return_document=ReturnDocument.AFTER
            )
        return _delivery(document) if document else await self.get(request.delivery)

    async def attempted(self, event: CallbackAttempted) -> None:
        """Notes an attempt: once in the history, and in the state unless that says something later or better."""
        with unavailable():
            await self._deliveries.bulk_write([_remember(event), _settle(event)], ordered=True)


def _remember(event: CallbackAttempted) -> UpdateOne:
    """A repeated message has the time of the one before; a repeated attempt, after a crash, has one of its own."""
    at = _milliseconds(event.attempted_at)
    attempt = {
        "replay": event.replay, "number": event.attempt, "at": at, "took_ms": event.took_ms, "http_status": event.http_status,
        "reason": event.reason, "detail": event.detail,
    }  # fmt: skip
    same = {"replay": event.replay, "number": event.attempt, "at": at}
    where = {"_id": event.delivery, "attempts": {"$not": {"$elemMatch": same}}}
    return UpdateOne(where, {"$push": {"attempts": {"$each": [attempt], "$sort": {"at": 1}, "$slice": -MAX_ATTEMPTS}}})


def _settle(event: CallbackAttempted) -> UpdateOne:
    this: Document = {"replay": event.replay}
    if event.reason is None:
        status, standing = Status.DELIVERED, {**this, "status": {"$in": [Status.PENDING, Status.FAILED]}}
    elif event.next_attempt_at is None:
        status, standing = Status.FAILED, {**this, "status": Status.PENDING}
    else:
        status, standing = Status.PENDING, {**this, "status": Status.PENDING, "attempt": {"$lt": event.attempt}}
    where = {"_id": event.delivery, "$or": [{"replay": {"$lt": event.replay}}, standing]}
    delivered_at = event.attempted_at if status is Status.DELIVERED else None
    return UpdateOne(where, _standing(status, event.replay, event.attempt, delivered_at=delivered_at, next_attempt_at=event.next_attempt_at))


def _standing(
    status: Status, replay: int, attempt: int, *, delivered_at: datetime | None = None, next_attempt_at: datetime | None = None
) -> Document:
    times = {"delivered_at": delivered_at, "next_attempt_at": next_attempt_at}
    return {"$set": {"status": status, "replay": replay, "attempt": attempt, **times}}


def _milliseconds(time: datetime) -> datetime:
    """The time as MongoDB keeps it, so that it is found again."""
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def _document(delivery: Delivery) -> Document:
    return {field: value for field, value in msgspec.to_builtins(delivery, builtin_types=(datetime,)).items() if field != "_id"}


def _delivery(document: Document) -> Delivery:
    return msgspec.convert(document, Delivery)
