"""shared/blobs.py on a real MongoDB."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorGridFSBucket
from pymongo.errors import BulkWriteError

from shared.blobs import CHUNK_BYTES, Blob, Blobs, Part, Parted
from shared.errors import Unusable
from tests.parted import read_as_others_do

if TYPE_CHECKING:
    from shared.mongo import Mongo

pytestmark = pytest.mark.anyio


def blob(body: bytes) -> Blob:
    return Blob(hashlib.sha256(body).hexdigest(), body, "image/png")


async def read(blobs: Blobs, file: ObjectId, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join([part async for part in blobs.read(file, start, stop)])


LARGE = bytes(range(256)) * (4096 * 2) + b"tail"


@pytest.mark.parametrize("body", [b"", b"x", b"y" * CHUNK_BYTES, b"z" * (CHUNK_BYTES + 1), LARGE], ids=len)
async def test_what_is_stored_is_read_back_and_any_gridfs_driver_reads_it_too(blobs: Blobs, mongo: Mongo, body: bytes) -> None:
    [(file, _)] = await blobs.store([blob(body)])
    assert await read(blobs, file) == body
    stream: Any = await AsyncIOMotorGridFSBucket(mongo.database).open_download_stream(file)
    assert await stream.read() == body
    assert stream.length == len(body)


async def test_the_same_bytes_are_kept_once_within_a_batch_and_across(blobs: Blobs, mongo: Mongo) -> None:
    (first, _), (second, _), (other, _) = await blobs.store([blob(b"a"), blob(b"a"), blob(b"b")])
    [(third, _)] = await blobs.store([blob(b"a")])
    assert first == second == third != other
    assert await mongo["fs.files"].count_documents({}) == await mongo["fs.chunks"].count_documents({}) == 2


async def test_of_two_who_store_the_same_at_once_one_wins_and_nothing_of_the_other_is_left(blobs: Blobs, mongo: Mongo) -> None:
    bodies = [bytes([n]) * 100 for n in range(20)]
    answers = await asyncio.gather(*(blobs.store([blob(body) for body in bodies]) for _ in range(8)))
    files = [[file for file, _ in answer] for answer in answers]
    assert all(found == files[0] for found in files)
    assert await mongo["fs.files"].count_documents({}) == len(bodies)
    assert await mongo["fs.chunks"].count_documents({}) == len(bodies)


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 1), (5, 10), (CHUNK_BYTES - 1, CHUNK_BYTES + 1), (CHUNK_BYTES, CHUNK_BYTES + 1), (1, None), (len(LARGE) - 2, len(LARGE)), (0, len(LARGE))],
)
async def test_a_range_is_read(blobs: Blobs, start: int, stop: int | None) -> None:
    [(file, _)] = await blobs.store([blob(LARGE)])
    assert await read(blobs, file, start, stop) == LARGE[start:stop]


# Bytes that come in parts


def parted(body: bytes, file: ObjectId | None = None) -> Parted:
    return Parted(file or ObjectId(), hashlib.sha256(body).hexdigest(), -(-len(body) // CHUNK_BYTES), len(body), "image/tiff")


def parts_of(file: ObjectId, body: bytes) -> list[Part]:
    return [Part(file, n, body[start : start + CHUNK_BYTES]) for n, start in enumerate(range(0, len(body), CHUNK_BYTES))]


async def test_a_file_is_closed_when_all_of_its_parts_are_there_whatever_their_order(blobs: Blobs, mongo: Mongo) -> None:
    due = parted(LARGE)
    first, second, third = parts_of(due.file, LARGE)
    for part in (third, first):
        await blobs.store_parts([part])
        assert await blobs.close(due) is None
    assert await mongo["fs.files"].count_documents({}) == 0, "nobody sees half of it"
    await blobs.store_parts([second])
    assert await blobs.close(due) == await blobs.close(due) == due.file
    assert await read(blobs, due.file) == await read_as_others_do(mongo, due.file) == LARGE


async def test_a_repeated_part_changes_nothing_be_it_in_the_same_write_or_in_another(blobs: Blobs, mongo: Mongo) -> None:
    due = parted(LARGE)
    parts = parts_of(due.file, LARGE)
    await blobs.store_parts([*parts, *parts])
    await blobs.store_parts([Part(due.file, 0, b"another"), *parts])
    assert await mongo["fs.chunks"].count_documents({}) == 3
    assert await blobs.close(due)
    assert await read(blobs, due.file) == LARGE


async def test_no_other_refusal_of_a_part_is_taken_for_success(blobs: Blobs, mongo: Mongo) -> None:
    await mongo["fs.chunks"].create_index("data", unique=True)
    await blobs.store_parts([Part(ObjectId(), 0, b"x")])
    with pytest.raises(BulkWriteError):
        await blobs.store_parts([Part(ObjectId(), 0, b"x")])


@pytest.mark.parametrize(
    "lengths",
    [(CHUNK_BYTES, CHUNK_BYTES, 3), (CHUNK_BYTES - 1, CHUNK_BYTES + 1, 4), (CHUNK_BYTES, 4, CHUNK_BYTES), (CHUNK_BYTES, CHUNK_BYTES, 4, 1)],
    ids=["too short", "a short one among them", "the last not the last", "one more"],
)
async def test_parts_that_do_not_make_up_the_file_are_refused(blobs: Blobs, mongo: Mongo, lengths: tuple[int, ...]) -> None:
    due = parted(LARGE)
    await blobs.store_parts([Part(due.file, n, bytes(length)) for n, length in enumerate(lengths)])
    with pytest.raises(Unusable, match="don't fit"):
        await blobs.close(due)
    assert await mongo["fs.files"].count_documents({}) == 0


async def test_parts_with_a_gap_and_one_beyond_are_refused(blobs: Blobs) -> None:
    due = parted(LARGE)
    await blobs.store_parts([Part(due.file, n, part.body) for n, part in zip((0, 1, 7), parts_of(due.file, LARGE), strict=True)])
    with pytest.raises(Unusable, match=r"is \(7, 4\), but should be \(2, 4\)"):
        await blobs.close(due)


async def test_of_many_who_close_a_file_of_the_same_bytes_at_once_one_wins_for_all(blobs: Blobs, mongo: Mongo) -> None:
    rivals = [parted(LARGE) for _ in range(6)]
    for rival in rivals:
        await blobs.store_parts(parts_of(rival.file, LARGE))
    winners = await asyncio.gather(*(blobs.close(rival) for rival in rivals for _ in range(3)))
    assert len(set(winners)) == 1
    [winner] = {rival.file for rival in rivals} & set(winners)
    # To discard one that is in use does it no harm.
    assert await blobs.discard([rival.file for rival in rivals]) == 5 * 3
    assert await mongo["fs.chunks"].distinct("files_id") == [winner]
    assert await read(blobs, winner) == LARGE


async def test_what_was_discarded_reads_as_an_empty_file_and_is_never_closed_again(blobs: Blobs, mongo: Mongo) -> None:
    due = parted(LARGE)
    await blobs.store_parts(parts_of(due.file, LARGE))
    assert await blobs.discard([due.file]) == 3
    assert await blobs.discard([due.file]) == 0
    assert await read_as_others_do(mongo, due.file) == b""
    await blobs.store_parts(parts_of(due.file, LARGE))
    assert await blobs.close(due) is None


async def test_a_file_that_was_marked_just_now_is_had_back_and_one_marked_long_ago_is_not(blobs: Blobs, mongo: Mongo) -> None:
    due = parted(LARGE)
    await blobs.store_parts(parts_of(due.file, LARGE))
    await blobs.close(due)
    for age, expected in ((timedelta(0), due.file), (timedelta(minutes=1), None)):
        mark: Any = {"$set": {"metadata.unreferenced_at": datetime.now(UTC) - age}, "$unset": {"metadata.sha256": ""}}
        await mongo["fs.files"].update_one({"_id": due.file}, mark)
        assert await blobs.close(due) == expected
    [(other, _)] = await blobs.store([blob(LARGE)])
    assert await blobs.close(due) == other


async def test_nobody_elses_file_is_taken_over(blobs: Blobs, mongo: Mongo) -> None:
    [(theirs, _)] = await blobs.store([blob(LARGE)])
    stranger = msgspec.structs.replace(parted(LARGE, theirs), sha256="ab" * 32)
    assert await blobs.close(stranger) is None
    assert await blobs.discard([theirs]) == 0
    assert await read_as_others_do(mongo, theirs) == LARGE
