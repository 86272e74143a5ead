"""shared/blobs.py on a real MongoDB."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from motor.motor_asyncio import AsyncIOMotorGridFSBucket

from shared.blobs import CHUNK_BYTES, Blob, Blobs

if TYPE_CHECKING:
    from bson import ObjectId

    from shared.mongo import Mongo

pytestmark = pytest.mark.anyio


def blob(body: bytes) -> Blob:
    return Blob(hashlib.sha256(body).hexdigest(), body, "image/png")


async def read(blobs: Blobs, file: ObjectId, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join([part async for part in blobs.read(file, start, stop)])


LARGE = bytes(range(256)) * (4096 * 2) + b"tail"


@pytest.mark.parametrize("body", [b"", b"x", b"y" * CHUNK_BYTES, b"z" * (CHUNK_BYTES + 1), LARGE], ids=len)
async def test_what_is_stored_is_read_back_and_any_gridfs_driver_reads_it_too(blobs: Blobs, mongo: Mongo, body: bytes) -> None:
    [file] = await blobs.store([blob(body)])
    assert await read(blobs, file) == body
    stream: Any = await AsyncIOMotorGridFSBucket(mongo.database).open_download_stream(file)
    assert await stream.read() == body
    assert stream.length == len(body)


async def test_the_same_bytes_are_kept_once_within_a_batch_and_across(blobs: Blobs, mongo: Mongo) -> None:
    first, second, other = await blobs.store([blob(b"a"), blob(b"a"), blob(b"b")])
    [third] = await blobs.store([blob(b"a")])
    assert first == second == third != other
    assert await mongo["fs.files"].count_documents({}) == await mongo["fs.chunks"].count_documents({}) == 2


async def test_of_two_who_store_the_same_at_once_one_wins_and_nothing_of_the_other_is_left(blobs: Blobs, mongo: Mongo) -> None:
    bodies = [bytes([n]) * 100 for n in range(20)]
    answers = await asyncio.gather(*(blobs.store([blob(body) for body in bodies]) for _ in range(8)))
    assert all(answer == answers[0] for answer in answers)
    assert await mongo["fs.files"].count_documents({}) == len(bodies)
    assert await mongo["fs.chunks"].count_documents({}) == len(bodies)


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 1), (5, 10), (CHUNK_BYTES - 1, CHUNK_BYTES + 1), (CHUNK_BYTES, CHUNK_BYTES + 1), (1, None), (len(LARGE) - 2, len(LARGE)), (0, len(LARGE))],
)
async def test_a_range_is_read(blobs: Blobs, start: int, stop: int | None) -> None:
    [file] = await blobs.store([blob(LARGE)])
    assert await read(blobs, file, start, stop) == LARGE[start:stop]
