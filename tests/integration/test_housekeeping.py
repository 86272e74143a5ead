"""services/storer/housekeeping.py on a real MongoDB: what nobody needs goes, what anybody needs stays."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from bson import ObjectId

from services.storer.housekeeping import Housekeeping
from shared.blobs import Blob
from shared.dead_letters import DeadLetters

if TYPE_CHECKING:
    from shared.blobs import Blobs
    from shared.mongo import Mongo

pytestmark = pytest.mark.anyio

AT_ONCE = timedelta(seconds=-1)
BODY = b"x" * 100


@pytest.fixture
def housekeeping(mongo: Mongo, blobs: Blobs) -> Housekeeping:
    return Housekeeping(mongo, DeadLetters(mongo, blobs), unreferenced_for=AT_ONCE, orphaned_for=AT_ONCE)


async def store(blobs: Blobs, body: bytes = BODY) -> ObjectId:
    [file] = await blobs.store([Blob(hashlib.sha256(body).hexdigest(), body, "image/png")])
    return file


async def refer(mongo: Mongo, file: ObjectId) -> None:
    await mongo["images"].insert_one({"_id": str(file), "file": file})


async def counts(mongo: Mongo) -> tuple[int, int]:
    return await mongo["fs.files"].count_documents({}), await mongo["fs.chunks"].count_documents({})


async def test_a_file_that_nothing_refers_to_goes_in_two_steps(mongo: Mongo, blobs: Blobs, housekeeping: Housekeeping) -> None:
    await store(blobs)
    assert await housekeeping.sweep() == {"deleted": 0, "marked": 1, "orphans": 0}
    assert await counts(mongo) == (1, 1)
    assert await housekeeping.sweep() == {"deleted": 1, "marked": 0, "orphans": 0}
    assert await counts(mongo) == (0, 0)


async def test_a_file_that_an_image_or_a_dead_letter_refers_to_stays(mongo: Mongo, blobs: Blobs, housekeeping: Housekeeping) -> None:
    await refer(mongo, await store(blobs))
    await mongo["dead_letters"].insert_one({"file": await store(blobs, b"dead")})
    for _ in range(3):
        assert await housekeeping.sweep() == {"deleted": 0, "marked": 0, "orphans": 0}
    assert await counts(mongo) == (2, 2)


async def test_a_young_file_is_left_alone(mongo: Mongo, blobs: Blobs) -> None:
    await store(blobs)
    assert await Housekeeping(mongo, DeadLetters(mongo, blobs)).sweep() == {"deleted": 0, "marked": 0, "orphans": 0}


async def test_a_store_that_found_the_file_just_before_the_mark_keeps_it(mongo: Mongo, blobs: Blobs, housekeeping: Housekeeping) -> None:
    file = await store(blobs)
    await housekeeping.sweep()
    await refer(mongo, file)
    assert (await housekeeping.sweep())["deleted"] == 0
    assert await counts(mongo) == (1, 1)
    assert await store(blobs) == file, "the file can be found by its hash again"
    assert await housekeeping.sweep() == {"deleted": 0, "marked": 0, "orphans": 0}


async def test_a_store_after_the_mark_makes_a_new_file_and_both_live_if_both_are_needed(
    mongo: Mongo, blobs: Blobs, housekeeping: Housekeeping
) -> None:
    early = await store(blobs)
    await housekeeping.sweep()
    late = await store(blobs)
    assert late != early
    await refer(mongo, early)
    await refer(mongo, late)
    for _ in range(3):
        await housekeeping.sweep()
    assert await counts(mongo) == (2, 2)
    await mongo["images"].delete_many({})
    for _ in range(2):
        await housekeeping.sweep()
    assert await counts(mongo) == (0, 0)


async def test_orphan_chunks_go_when_they_are_old(mongo: Mongo, blobs: Blobs, housekeeping: Housekeeping) -> None:
    await refer(mongo, await store(blobs))
    await mongo["fs.chunks"].insert_many([{"files_id": ObjectId(), "n": n, "data": b"x"} for n in range(3)])
    assert (await Housekeeping(mongo, DeadLetters(mongo, blobs)).sweep())["orphans"] == 0
    assert (await housekeeping.sweep())["orphans"] == 3
    assert await counts(mongo) == (1, 1)
