"""Dead letters: messages that could not be processed, moved from their queue to MongoDB, where looking at them consumes nothing.

The body goes to GridFS, whatever its size; the headers are kept as text, since what a message says must never become a field name.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from pymongo import DESCENDING, IndexModel

from shared import events
from shared.blobs import Blob
from shared.errors import Undecodable
from shared.mongo import unavailable, unhurried

if TYPE_CHECKING:
    from bson import ObjectId

    from shared.blobs import Blobs
    from shared.mongo import Document, Mongo

COLLECTION = "dead_letters"
INDEXES = [
    IndexModel([("died_at", DESCENDING), ("_id", DESCENDING)], name="newest"),
    IndexModel([("file", DESCENDING)], name="file"),
]

# RabbitMQ's words (the reason in x-death) in ours.
_CAUSES = {
    "rejected": "Its handler failed, twice.",
    "delivery_limit": "Its consumer died with it in hand, again and again.",
    "expired": "It waited too long.",
    "maxlen": "The queue was full.",
}
_IN_PARTS = (
    "Parts of the image never came, or it isn't what image-fetched says it is: the storer's log has which. "
    "Replay the image-part messages that are among the dead letters first, then this one."
)


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message and how it died. `headers` is JSON, without those that RabbitMQ added."""

    id: str = msgspec.field(name="_id")
    queue: str
    reason: str
    detail: str
    died_at: datetime
    type: str | None
    message_id: str | None
    correlation_id: str | None
    content_type: str | None
    headers: str
    size: int
    last_died_at: datetime
    file: Any  # the ObjectId of the GridFS file with the body


@dataclasses.dataclass(frozen=True)
class Died:
    """A message as it comes out of the dead letters' queue."""

    envelope: events.Envelope
    queue: str
    reason: str

    @functools.cached_property
    def sha256(self) -> str:
        """Of the body, in hexadecimal."""
        return hashlib.sha256(self.envelope.body).hexdigest()

    @property
    def id(self) -> str:
        """The same for every delivery of the same message, so that none is listed twice."""
        parts = [self.queue, self.envelope.message_id or "", self.sha256]
        return base64.b32encode(hashlib.sha256("\n".join(parts).encode()).digest())[:26].decode().lower()


def read(envelope: events.Envelope) -> Died:
    """What the broker says of a dead letter. Never fails: there is no further place for it to go."""
    deaths = envelope.headers.get("x-death")
    # The latest first; the x-first-death-… headers would tell of the delay queue that it once expired from.
    latest = deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else {}
    return Died(envelope, str(latest.get("queue", "unknown")), str(latest.get("reason", "unknown")))


class DeadLetters:
    """The collection of dead letters."""

    def __init__(self, mongo: Mongo, blobs: Blobs) -> None:
        self._letters = mongo[COLLECTION]
        self._blobs = blobs

    async def create_indexes(self) -> None:
        """Safe to repeat, by any process."""
        with unavailable(), unhurried():
            await self._letters.create_indexes(INDEXES)

    async def keep(self, died: Died) -> None:
        """Durable when it returns; repeating it changes nothing."""
        envelope = died.envelope
        [(file, _)] = await self._blobs.store([Blob(died.sha256, envelope.body, envelope.content_type or "application/octet-stream")])
        fields: Document = {
            "queue": died.queue, "reason": died.reason, "detail": _explain(died), "type": envelope.type,
            "message_id": envelope.message_id, "correlation_id": envelope.correlation_id, "content_type": envelope.content_type,
            "headers": _headers_as_text(envelope), "size": len(envelope.body), "file": file,
        }  # fmt: skip
        now = datetime.now(UTC)
        fields["last_died_at"] = now
        with unavailable():
            await self._letters.update_one({"_id": died.id}, {"$set": fields, "$setOnInsert": {"died_at": now}}, upsert=True)

    async def page(self, *, limit: int, after: tuple[datetime, str] | None) -> list[DeadLetter]:
        """Up to `limit` of them after a position, newest first."""
        query: Document = {}
        if after:
            query = {"died_at": {"$lte": after[0]}, "$nor": [{"died_at": after[0], "_id": {"$gte": after[1]}}]}  # as in shared/listing.py
        with unavailable():
            found = await self._letters.find(query).sort([("died_at", DESCENDING), ("_id", DESCENDING)]).limit(limit).to_list(limit)
        return [msgspec.convert(letter, DeadLetter) for letter in found]

    async def get(self, letter: str) -> DeadLetter | None:
        """The one with this id."""
        with unavailable():
            found = await self._letters.find_one({"_id": letter})
        return msgspec.convert(found, DeadLetter) if found else None

    async def body(self, letter: DeadLetter, most: int | None = None) -> bytes:
        """Its body, or the first `most` bytes."""
        return b"".join([part async for part in self._blobs.read(letter.file, 0, None if most is None else min(most, letter.size))])

    async def delete(self, letter: DeadLetter) -> bool:
        """Forgets it, unless it has died again since it was read; False when it isn't there. Housekeeping takes its body."""
        with unavailable():
            return (await self._letters.delete_one({"_id": letter.id, "last_died_at": letter.last_died_at})).deleted_count == 1

    async def referring(self, files: list[ObjectId]) -> set[ObjectId]:
        """Which of these files are bodies of dead letters."""
        with unavailable():
            return set(await self._letters.distinct("file", {"file": {"$in": files}}))


def envelope_of(letter: DeadLetter, body: bytes) -> events.Envelope:
    """The message as it was, to be sent again."""
    return events.Envelope(letter.type, msgspec.json.decode(letter.headers), body, letter.content_type, letter.message_id, letter.correlation_id)


def _explain(died: Died) -> str:
    if died.reason == "rejected":
        try:
            event = events.decode(died.envelope)
        except Undecodable as error:
            return f"It is no event: {error}"
        if isinstance(event, events.ImageFetched) and event.parts:
            return _IN_PARTS
    return _CAUSES.get(died.reason, "RabbitMQ didn't say why.")


def _headers_as_text(envelope: events.Envelope) -> str:
    ours = {name: value for name, value in envelope.headers.items() if not name.startswith("x-")}
    # Not json.dumps: it writes NaN and infinities, which no reader of JSON takes back.
    return msgspec.json.encode(ours, enc_hook=str, order="deterministic").decode()
