"""Images that come in parts, for tests."""

from __future__ import annotations

import hashlib
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorGridFSBucket

from shared import events
from shared.events import PART_BYTES

if TYPE_CHECKING:
    from shared.mongo import Mongo


class Large(NamedTuple):
    """What a fetcher publishes of a large image."""

    content: bytes
    parts: list[events.ImagePart]
    fetched: events.ImageFetched

    @property
    def all(self) -> list[events.Event]:
        return [*self.parts, self.fetched]

    @property
    def file(self) -> ObjectId:
        return ObjectId(self.fetched.file)


def large(image: str, *, content: bytes | None = None, parts: int = 3, revision: int = 1) -> Large:
    """An image of so many parts, the last of them a short one, or one of this content."""
    content = content or random.Random(image).randbytes((parts - 1) * PART_BYTES + 4321)
    file = str(ObjectId())
    pieces = [content[start : start + PART_BYTES] for start in range(0, len(content), PART_BYTES)]
    made = [events.ImagePart(image=image, revision=revision, file=file, number=number, body=piece) for number, piece in enumerate(pieces)]
    fetched = events.ImageFetched(
        image=image, revision=revision, url="http://a/", final_url="http://a/", fetched_at=datetime(2026, 1, 2, tzinfo=UTC), took_ms=7,
        format="tiff", content_type="image/tiff", width=1, height=1, sha256=hashlib.sha256(content).hexdigest(),
        file=file, parts=len(pieces), size=len(content), body=b"",
    )  # fmt: skip
    return Large(content, made, fetched)


async def read_as_others_do(mongo: Mongo, file: ObjectId) -> bytes:
    """A file's content by way of the driver's own GridFS bucket."""
    stream: Any = await AsyncIOMotorGridFSBucket(mongo.database).open_download_stream(file)
    content: bytes = await stream.read()
    return content
