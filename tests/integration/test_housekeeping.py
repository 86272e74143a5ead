"""services/storer/housekeeping.py on a real MongoDB: what nobody needs goes, what anybody needs stays."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from bson import ObjectId

from services.storer.housekeeping import Housekeeping
from shared.blobs import Blob, Part, Parted
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
    [(file, _)] = await blobs.store([Blob(hashlib.sha256(body).hexdigest(), body, "image/png")])
    return file


async def refer(mongo: Mongo, file: ObjectId) -> None:
    await mongo["images"].insert_one({"_id": str(file), "file": file})


async def orphans(mongo: Mongo, files: list[ObjectId], *, written: datetime | None = None) -> None:
    chunks = [{"_id": ObjectId.from_datetime(written + timedelta(seconds=n)) if written else ObjectId(), "n": 7} for n in range(len(files))]
    await mongo["fs.chunks"].insert_many([{**chunk, "files_id": file, "data": b"x"} for chunk, file in zip(chunks, files, strict=True)])


async def chunk_owners(mongo: Mongo) -> set[ObjectId]:
    return set(await mongo["fs.chunks"].distinct("files_id"))


def as_it_runs(mongo: Mongo, blobs: Blobs) -> Housekeeping:
    return Housekeeping(mongo, DeadLetters(mongo, blobs), unreferenced_for=timedelta(hours=1))


async def counts(mongo: Mongo) -> tuple[int, int]:
    return await mongo["fs.files"].count_documents({}), await mongo["fs.chunks"].count_documents({})


async def test_a_file_that_nothing_refers_to_goes_in_two_steps(mongo: Mongo, blobs: Blobs, housekeeping: Housekeeping) -> None:
    await store(blobs)
    assert await housekeeping.sweep() == {"deleted": 0, "marked": 1, "orphans": 0, "thumbnails": 0}
    assert await counts(mongo) == (1, 1)
    assert await housekeeping.sweep() == {"deleted": 1, "marked": 0, "orphans": 0, "thumbnails": 0}
    assert await counts(mongo) == (0, 0)


async def test_a_file_that_an_image_or_a_dead_letter_refers_to_stays(mongo: Mongo, blobs: Blobs, housekeeping: Housekeeping) -> None:
    await refer(mongo, await store(blobs))
    await mongo["dead_letters"].insert_one({"file": await store(blobs, b"dead")})
    for _ in range(3):
        assert await housekeeping.sweep() == {"deleted": 0, "marked": 0, "orphans": 0, "thumbnails": 0}
    assert await counts(mongo) == (2, 2)


async def test_a_young_file_is_left_alone(mongo: Mongo, blobs: Blobs) -> None:
    await store(blobs)
    assert await as_it_runs(mongo, blobs).sweep() == {"deleted": 0, "marked": 0, "orphans": 0, "thumbnails": 0}


async def test_a_store_that_found_the_file_just_before_the_mark_keeps_it(mongo: Mongo, blobs: Blobs, housekeeping: Housekeeping) -> None:
    file = await store(blobs)
    await housekeeping.sweep()
    await refer(mongo, file)
    assert (await housekeeping.sweep())["deleted"] == 0
    assert await counts(mongo) == (1, 1)
    assert await store(blobs) == file, "the file can be found by its hash again"
    assert await housekeeping.sweep() == {"deleted": 0, "marked": 0, "orphans": 0, "thumbnails": 0}


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
    await orphans(mongo, [ObjectId() for _ in range(3)])
    assert (await as_it_runs(mongo, blobs).sweep())["orphans"] == 0
    assert (await housekeeping.sweep())["orphans"] == 3
    assert await chunk_owners(mongo) == set(await mongo["images"].distinct("file"))
    await housekeeping.sweep()
    assert await counts(mongo) == (1, 1), "nothing stands in their places any more"


async def test_chunks_of_an_old_file_that_were_written_lately_are_no_orphans_yet(mongo: Mongo, blobs: Blobs) -> None:
    waited_in_a_queue = ObjectId.from_datetime(datetime.now(UTC) - timedelta(days=3))
    forgotten = ObjectId.from_datetime(datetime.now(UTC) - timedelta(days=2))
    await blobs.store_parts([Part(waited_in_a_queue, 0, b"x")])
    await orphans(mongo, [waited_in_a_queue, forgotten], written=datetime.now(UTC) - timedelta(days=2))
    assert (await as_it_runs(mongo, blobs).sweep())["orphans"] == 1
    assert await chunk_owners(mongo) == {waited_in_a_queue}


async def test_an_orphan_that_was_found_can_not_be_closed_any_more(mongo: Mongo, blobs: Blobs, housekeeping: Housekeeping) -> None:
    parted = Parted(ObjectId(), hashlib.sha256(BODY).hexdigest(), 1, len(BODY), "image/png")
    await blobs.store_parts([Part(parted.file, 0, BODY)])
    await housekeeping.sweep()
    await blobs.store_parts([Part(parted.file, 0, BODY)])
    assert await blobs.close(parted) is None
    for _ in range(2):
        await housekeeping.sweep()
    assert await counts(mongo) == (0, 0), "the part that came late is gone too"


async def test_a_file_that_a_former_version_refers_to_stays(mongo: Mongo, blobs: Blobs, housekeeping: Housekeeping) -> None:
    former, current, nobodys = [await store(blobs, body) for body in (b"former", b"current", b"nobody's")]
    await mongo["images"].insert_one({"_id": "a", "file": current, "versions": [{"file": ObjectId()}, {"file": former}]})
    for _ in range(3):
        await housekeeping.sweep()
    assert await chunk_owners(mongo) == {former, current}
    assert nobodys not in await chunk_owners(mongo)


async def test_a_former_version_brings_back_no_file_but_its_own(mongo: Mongo, blobs: Blobs, housekeeping: Housekeeping) -> None:
    first, second = [await store(blobs, body) for body in (b"first", b"second")]
    await housekeeping.sweep()
    await mongo["images"].insert_one({"_id": "a", "versions": [{"file": first}]})
    await mongo["images"].insert_one({"_id": "b", "versions": [{"file": ObjectId()}]})
    assert (await housekeeping.sweep())["deleted"] == 1
    assert await chunk_owners(mongo) == {first} != {second}


async def test_a_sweep_looks_at_so_much_and_the_next_goes_on_from_there(mongo: Mongo, blobs: Blobs) -> None:
    kept = [await store(blobs, bytes([n])) for n in range(5)]
    for file in kept:
        await refer(mongo, file)
    await store(blobs, b"unreferenced")
    await orphans(mongo, [ObjectId() for _ in range(3)])

    def another() -> Housekeeping:
        return Housekeeping(mongo, DeadLetters(mongo, blobs), unreferenced_for=AT_ONCE, orphaned_for=AT_ONCE, page=2, pages=1)

    seen = [await another().sweep() for _ in range(4)]
    assert [found["marked"] for found in seen] == [0, 0, 1, 0], "the sixth file is the third sweep's"
    # Chunks: two of the kept a sweep, then the last of the marked file's and an orphan, and so on.
    assert [found["orphans"] for found in seen] == [0, 0, 0, 2]
    for _ in range(12):
        await another().sweep()
    assert await counts(mongo) == (5, 5)
    assert await chunk_owners(mongo) == set(kept)


async def test_it_sweeps_often_enough_for_what_is_kept_a_short_time(mongo: Mongo, blobs: Blobs) -> None:
    every = [Housekeeping(mongo, DeadLetters(mongo, blobs), unreferenced_for=keep).every for keep in (timedelta(minutes=1), timedelta(days=1))]
    assert every == [timedelta(seconds=10), timedelta(minutes=10)]
