"""The bytes: files in GridFS as its specification has it, readable by any driver; one copy of the same bytes.

A unique index on `metadata.sha256` keeps it at one copy: of two that store the same bytes at once, one loses, and deletes
its own chunks. Each try has a file id of its own, so that what a crash left behind never stands in the way of the next.

Bytes that come in parts are the exception: their file id is given, several may write its chunks, and each may come again at any time.
Whoever has written the file's document has closed it; `discard` puts an empty document in its place, so that nobody can any more.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from bson import ObjectId
from pymongo import ASCENDING, IndexModel
from pymongo.errors import BulkWriteError, DuplicateKeyError

from shared import metrics
from shared.catalog import DUPLICATE_KEY
from shared.errors import StoreUnavailable, Unusable
from shared.events import PART_BYTES
from shared.mongo import Document, unavailable, unhurried

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from shared.mongo import Mongo

CHUNK_BYTES = PART_BYTES
"""Larger than the 255 KiB of the specification's default, so that most images are one chunk (docs/decisions/0004-chunks.md)."""

REVIVABLE_FOR = timedelta(seconds=30)
"""How long after its mark a file can be had back: half of the least time after which housekeeping deletes it, for clocks that differ."""

# The specification's own indexes, and ours.
CHUNK_INDEXES = [IndexModel([("files_id", ASCENDING), ("n", ASCENDING)], unique=True)]
FILE_INDEXES = [
    IndexModel([("filename", ASCENDING), ("uploadDate", ASCENDING)]),
    IndexModel([("metadata.sha256", ASCENDING)], name="sha256", unique=True, partialFilterExpression={"metadata.sha256": {"$exists": True}}),
    # Files that housekeeping has marked: few.
    IndexModel(
        [("metadata.unreferenced_at", ASCENDING)],
        name="unreferenced",
        partialFilterExpression={"metadata.unreferenced_at": {"$exists": True}},
    ),
]


class Blob(msgspec.Struct, frozen=True):
    """Bytes to store."""

    sha256: str
    body: bytes
    content_type: str


class Part(msgspec.Struct, frozen=True):
    """Number `number`, from 0, of the chunks of a file."""

    file: ObjectId
    number: int
    body: bytes


class Parted(msgspec.Struct, frozen=True):
    """Bytes that come as `parts` parts of the file `file`, `size` in all; each part but the last is CHUNK_BYTES long."""

    file: ObjectId
    sha256: str
    parts: int
    size: int
    content_type: str


class Kept(NamedTuple):
    """The file that holds some bytes, and whether it was there before, or several wanted it at once."""

    file: ObjectId
    again: bool


class Blobs:
    """The two collections of GridFS's default bucket."""

    def __init__(self, mongo: Mongo) -> None:
        self._files = mongo["fs.files"]
        self._chunks = mongo["fs.chunks"]

    async def create_indexes(self) -> None:
        """Safe to repeat, by any process."""
        with unavailable(), unhurried():
            await self._chunks.create_indexes(CHUNK_INDEXES)
            await self._files.create_indexes(FILE_INDEXES)

    async def store(self, blobs: Sequence[Blob]) -> list[Kept]:
        """The file that holds each blob's bytes: the one that is there, or a new one. Durable when it returns."""
        wanted = {blob.sha256: blob for blob in blobs}
        times = Counter(blob.sha256 for blob in blobs)
        held = await self._find(list(wanted))
        found = set(held)
        missing = [blob for sha256, blob in wanted.items() if sha256 not in held]
        if missing:
            held |= await self._insert(missing)
            metrics.STORED_BYTES.inc(sum(len(blob.body) for blob in missing))
        metrics.SAME_BYTES.inc(len(blobs) - len(missing))
        return [Kept(held[blob.sha256], blob.sha256 in found or times[blob.sha256] > 1) for blob in blobs]

    async def store_parts(self, parts: Sequence[Part]) -> None:
        """Chunks of files that are to be closed. One that is there already stays as it is. Durable when it returns."""
        chunks = [{"_id": ObjectId(), "files_id": part.file, "n": part.number, "data": part.body} for part in parts]
        try:
            with unavailable():
                await self._chunks.insert_many(chunks, ordered=False)
        except BulkWriteError as error:
            if any(failure["keyPattern"] != {"files_id": 1, "n": 1} for failure in _duplicates(error)):
                raise

    async def count_parts(self, file: ObjectId) -> int:
        """How many chunks of a file are there; an index scan."""
        with unavailable():
            return int(await self._chunks.count_documents({"files_id": file}))

    async def close(self, parted: Parted) -> ObjectId | None:
        """The file that holds these bytes: one that was there before, or this one if it has all of its parts; else None.

        Durable when it returns. Raises Unusable when the parts aren't what they should be.
        """
        if held := await self._held(parted.sha256):
            return held
        if await self.count_parts(parted.file) < parted.parts:
            return None
        await self._verify(parted)
        try:
            with unavailable():
                await self._files.insert_one(_file(parted.file, parted.sha256, parted.size, parted.content_type))
        except DuplicateKeyError:
            return await self._held(parted.sha256) or await self._revive(parted)
        return parted.file

    async def discard(self, files: Sequence[ObjectId]) -> int:
        """Deletes the chunks of those of these files that nobody has closed, and nobody can close from now on; how many chunks those were.

        What stands in their places is marked for housekeeping, which takes it, and chunks that come late, away with what nothing refers to.
        """
        now = datetime.now(UTC)
        metadata = {"discarded": True, "unreferenced_at": now}
        places = [{"_id": file, "length": 0, "chunkSize": CHUNK_BYTES, "uploadDate": now, "filename": "", "metadata": metadata} for file in files]
        try:
            with unavailable():
                await self._files.insert_many(places, ordered=False)
        except BulkWriteError as error:
            _duplicates(error)
        with unavailable():
            discarded = await self._files.distinct("_id", {"_id": {"$in": list(files)}, "metadata.discarded": True})
            return int((await self._chunks.delete_many({"files_id": {"$in": discarded}})).deleted_count)

    async def read(self, file: ObjectId, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `stop`, a chunk at a time; reads no chunk outside of them."""
        first, last = start // CHUNK_BYTES, None if stop is None else (stop - 1) // CHUNK_BYTES
        numbers: Document = {"$gte": first} if last is None else {"$gte": first, "$lte": last}
        found = self._chunks.find({"files_id": file, "n": numbers}).sort("n", ASCENDING)
        # One chunk a round trip: a slow client must not make us hold a driver's batch (16 MiB) for it.
        cursor = found.batch_size(1 if last is None or last > first else 2)
        while True:
            with unavailable():
                chunk = await anext(cursor, None)
            if chunk is None:
                return
            offset = chunk["n"] * CHUNK_BYTES
            data = chunk["data"]
            low = max(0, start - offset)
            high = len(data) if stop is None else min(len(data), stop - offset)
            yield data if (low, high) == (0, len(data)) else data[low:high]

    async def read_small(self, files: Sequence[ObjectId]) -> list[bytes | None]:
        """The bytes of files that are one chunk each, all with one query; None for each that isn't there."""
        with unavailable():
            chunks = await self._chunks.find({"files_id": {"$in": list(set(files))}, "n": 0}).to_list(None)
        found = {chunk["files_id"]: chunk["data"] for chunk in chunks}
        return [found.get(file) for file in files]

    async def _verify(self, parted: Parted) -> None:
        """Raises Unusable unless the chunks are exactly those that make up so many bytes; MongoDB measures them where they are."""
        measure: list[Document] = [
            {"$match": {"files_id": parted.file}},
            {"$sort": {"n": ASCENDING}},
            {"$project": {"_id": 0, "n": 1, "length": {"$binarySize": "$data"}}},
        ]
        with unavailable():
            chunks = await self._chunks.aggregate(measure).to_list(None)
        last = parted.parts - 1
        due = [(n, CHUNK_BYTES if n < last else parted.size - last * CHUNK_BYTES) for n in range(parted.parts)]
        for found, expected in zip_longest([(chunk["n"], chunk["length"]) for chunk in chunks], due):
            if found != expected:
                raise Unusable(f"The parts of file {parted.file} don't fit: (number, bytes) is {found}, but should be {expected}.")

    async def _revive(self, parted: Parted) -> ObjectId | None:
        """The file, if it was closed before and is gone for its hash alone: housekeeping has marked it just now, which can be taken back."""
        closed = {"_id": parted.file, "filename": parted.sha256, "length": parted.size}
        lately = {"metadata.unreferenced_at": {"$gt": datetime.now(UTC) - REVIVABLE_FOR}}
        back = {"$set": {"metadata.sha256": parted.sha256}, "$unset": {"metadata.unreferenced_at": ""}}
        try:
            with unavailable():
                revived = await self._files.update_one({**closed, **lately}, back)
        except DuplicateKeyError:  # somebody has stored the same bytes anew
            return await self._held(parted.sha256)
        return parted.file if revived.matched_count else None

    async def _held(self, sha256: str) -> ObjectId | None:
        return (await self._find([sha256])).get(sha256)

    async def _find(self, hashes: list[str]) -> dict[str, ObjectId]:
        with unavailable():
            found = await self._files.find({"metadata.sha256": {"$in": hashes}}, {"metadata.sha256": 1}).to_list(None)
        return {file["metadata"]["sha256"]: file["_id"] for file in found}

    async def _insert(self, blobs: Sequence[Blob]) -> dict[str, ObjectId]:
        ids = {blob.sha256: ObjectId() for blob in blobs}
        # Chunks before files: a file that can be seen is whole.
        with unavailable():
            await self._chunks.insert_many([chunk for blob in blobs for chunk in _chunks(ids[blob.sha256], blob.body)], ordered=False)
        try:
            with unavailable():
                await self._files.insert_many(
                    [_file(ids[blob.sha256], blob.sha256, len(blob.body), blob.content_type) for blob in blobs], ordered=False
                )
        except BulkWriteError as error:
            return ids | await self._yield_to_others([blobs[failure["index"]].sha256 for failure in _duplicates(error)], ids)
        return ids

    async def _yield_to_others(self, lost: list[str], ids: dict[str, ObjectId]) -> dict[str, ObjectId]:
        """Somebody stored these bytes since we looked: their file counts, our chunks go."""
        winners = await self._find(lost)
        with unavailable():
            await self._chunks.delete_many({"files_id": {"$in": [ids[sha256] for sha256 in lost]}})
        if len(winners) < len(lost):
            raise StoreUnavailable("A file was deleted while the same bytes were being stored; the next try finds it settled.")
        return winners


def _duplicates(error: BulkWriteError) -> list[Document]:
    failures: list[Document] = error.details["writeErrors"]
    if any(failure["code"] != DUPLICATE_KEY for failure in failures):
        raise error
    return failures


def _chunks(file: ObjectId, body: bytes) -> list[Document]:
    if len(body) <= CHUNK_BYTES:
        return [{"_id": ObjectId(), "files_id": file, "n": 0, "data": body}]
    parts = range(0, len(body), CHUNK_BYTES)
    return [{"_id": ObjectId(), "files_id": file, "n": n, "data": body[offset : offset + CHUNK_BYTES]} for n, offset in enumerate(parts)]


def _file(file: ObjectId, sha256: str, length: int, content_type: str) -> Document:
    return {
        "_id": file, "length": length, "chunkSize": CHUNK_BYTES, "uploadDate": datetime.now(UTC), "filename": sha256,
        "metadata": {"sha256": sha256, "contentType": content_type},
    }  # fmt: skip
