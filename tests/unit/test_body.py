"""A body is whole, hashed and closed, wherever it is kept; and what is on disk stays within its budget."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fetcher.body import Body, View, unnamed_file
from services.fetcher.disk import Disk, Room
from services.fetcher.hosts import PutOff
from shared.errors import Reason, TransientError
from shared.events import PART_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

LARGE = random.Random(0).randbytes(2 * PART_BYTES + 7)


def room(size: int = 10 * PART_BYTES) -> Room:
    return Room(size, lambda _: None)


def on_disk(content: bytes, make_file: Callable[[], IO[bytes]] = unnamed_file) -> Body:
    body = Body(make_file=make_file)
    body.move_to_disk(room())
    body.add(content)
    return body


@given(st.lists(st.integers(0, PART_BYTES), max_size=5))
def test_a_body_is_what_was_added(sizes: list[int]) -> None:
    chunks = [LARGE[:size] for size in sizes]
    content = b"".join(chunks)
    with Body() as body:
        for chunk in chunks:
            if body.needs_room_for(len(chunk)):
                body.move_to_disk(room())
            body.add(chunk)
        assert (body.size, body.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert body.content == (content if len(content) <= PART_BYTES else None)
        assert b"".join(body.part(number) for number in range(body.parts)) == content
        assert all(len(body.part(number)) == PART_BYTES for number in range(body.parts - 1))
        assert body.first(100) == content[:100]


def test_a_small_body_outlives_its_closing_and_a_large_one_says_that_it_is_closed() -> None:
    with Body() as body:
        body.add(b"x")
        content = body.content
    assert content == b"x"
    with on_disk(b"x") as body:
        assert body.part(0) == b"x"
    with pytest.raises(ValueError, match="closed"):
        body.part(0)


def test_many_small_chunks_take_no_more_memory_than_few_large_ones() -> None:
    import tracemalloc  # noqa: PLC0415  (slows everything while it is on)

    tracemalloc.start()
    try:
        body = Body()
        for _ in range(PART_BYTES // 2):
            body.add(b"xy")
        assert tracemalloc.get_traced_memory()[1] < 3 * PART_BYTES
    finally:
        tracemalloc.stop()


def test_what_is_on_disk_is_not_held_in_memory_too() -> None:
    with Body() as body:
        body.add(LARGE[:PART_BYTES])
        body.move_to_disk(room())
        body.add(LARGE[PART_BYTES:])
        assert body._memory.getvalue() == b""


def test_more_than_there_is_room_for_is_a_lie_about_the_length() -> None:
    with Body() as body:
        body.move_to_disk(room(10))
        body.add(b"x" * 10)
        with pytest.raises(TransientError) as caught:
            body.add(b"x")
        assert caught.value.reason == Reason.TRUNCATED


def test_a_full_disk_is_a_failure_that_may_pass() -> None:
    opened: list[IO[bytes]] = []

    def full() -> IO[bytes]:
        opened.append(Path("/dev/full").open("r+b", buffering=0))  # noqa: SIM115  (the body is to close it)
        return opened[-1]

    given_back: list[int] = []
    with Body(make_file=full) as body:
        body.add(b"x")
        with pytest.raises(TransientError) as caught:
            body.move_to_disk(Room(5, given_back.append))
        assert (caught.value.reason, given_back) == (Reason.TOO_LARGE, [])
    assert ([file.closed for file in opened], given_back) == ([True], [5])


def test_no_file_to_be_had_is_a_failure_that_may_pass() -> None:
    def none() -> IO[bytes]:
        raise OSError(24, "Too many open files")

    given_back: list[int] = []
    with Body(make_file=none) as body, pytest.raises(TransientError):
        body.move_to_disk(Room(5, given_back.append))
    assert given_back == [5]


def test_room_is_given_back_once() -> None:
    given_back: list[int] = []
    with Body() as body:
        body.move_to_disk(Room(5, given_back.append))
        body.close()
    assert given_back == [5]


@given(st.lists(st.tuples(st.integers(-9, 99_999), st.integers(-9, 99_999), st.sampled_from([None, 1, 3])), max_size=20))
def test_a_view_of_a_file_reads_as_bytes_do(places: list[tuple[int, int, int | None]]) -> None:
    content = LARGE[:50_000]
    with on_disk(content) as body:
        view = body.view
        assert isinstance(view, View)
        assert len(view) == len(content)
        assert view[-1] == content[-1]
        for start, stop, step in places:
            assert view[start:stop:step] == content[start:stop:step]
            assert view.rfind(content[stop : stop + 2], max(start, 0)) == content.rfind(content[stop : stop + 2], max(start, 0))
            expected = content[start] if -len(content) <= start < len(content) else None
            with contextlib.suppress(IndexError) if expected is None else contextlib.nullcontext():
                assert view[start] == expected


@pytest.mark.anyio
async def test_room_is_given_in_turn_and_never_more_than_there_is() -> None:
    disk, served, most = Disk(100, waiting=50), [], 0

    async def use(number: int, size: int) -> None:
        nonlocal most
        room = await disk.room(size)
        most = max(most, 100 - disk.free)
        served.append(number)
        await asyncio.sleep(0)
        room.give_back()
        room.give_back()

    # The second can't be served beside the first, and the small ones behind it don't overtake it.
    await asyncio.gather(*(use(number, size) for number, size in enumerate([60, 100, *[10] * 30])))
    assert served == list(range(32))
    assert (disk.free, disk.waiting) == (100, 0)
    assert most == 100


@pytest.mark.anyio
async def test_who_waits_too_long_or_finds_too_many_waiting_is_put_off() -> None:
    disk = Disk(100, waiting=1, wait_seconds=0.2, uniform=lambda low, _: low)
    first = await disk.room(1)
    waiting = asyncio.create_task(disk.room(100))
    while not disk.waiting:
        await asyncio.sleep(0)
    with pytest.raises(PutOff):
        await disk.room(1)
    with pytest.raises(PutOff) as caught:
        await waiting
    assert (caught.value.seconds, disk.waiting, disk.free) == (0.1, 0, 99)
    first.give_back()
    assert (await disk.room(100)).size == 100


@pytest.mark.anyio
async def test_who_gives_up_waiting_holds_nothing_up() -> None:
    disk = Disk(100, waiting=10)
    first = await disk.room(100)
    waiting = [asyncio.create_task(disk.room(50)) for _ in range(3)]
    while disk.waiting < 3:
        await asyncio.sleep(0)
    waiting[0].cancel()
    first.give_back()
    assert [room.size for room in await asyncio.gather(*waiting[1:])] == [50, 50]
    assert (disk.waiting, disk.free) == (0, 0)
