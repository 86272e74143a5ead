"""shared/batching.py: a natural group commit."""

from __future__ import annotations

import asyncio

import pytest

from shared.batching import Batcher

pytestmark = pytest.mark.anyio


class Recorder:
    """A writer that is held until it is let go, and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()

    async def write(self, items: list[int]) -> list[int | Exception]:
        self.batches.append(items)
        await self.gate.wait()
        return [ValueError(f"odd: {item}") if item % 2 else item * 10 for item in items]


async def started(recorder: Recorder, batches: int) -> None:
    async with asyncio.timeout(5):
        while len(recorder.batches) < batches:
            await asyncio.sleep(0)


async def test_an_item_alone_is_written_at_once() -> None:
    recorder = Recorder()
    recorder.gate.set()
    assert await Batcher(recorder.write, max_items=10).add(2) == 20
    assert recorder.batches == [[2]]


async def test_what_arrives_during_a_write_becomes_the_next_one() -> None:
    recorder = Recorder()
    batcher = Batcher(recorder.write, max_items=10)
    first = batcher.put(0)
    await started(recorder, 1)
    rest = [batcher.put(item) for item in (2, 4, 6)]
    assert len(batcher) == 3
    recorder.gate.set()
    assert await asyncio.gather(first, *rest) == [0, 20, 40, 60]
    assert recorder.batches == [[0], [2, 4, 6]]


async def test_a_batch_is_bounded_by_items_and_by_size_but_takes_at_least_one() -> None:
    recorder = Recorder()
    recorder.gate.set()
    batcher = Batcher(recorder.write, max_items=3, max_size=10, size=lambda item: item)
    await asyncio.gather(*(batcher.put(item) for item in (100, 2, 2, 2, 2, 8, 4)))
    assert recorder.batches == [[100], [2, 2, 2], [2, 8], [4]]


async def test_an_exception_among_the_results_is_raised_for_its_item_alone() -> None:
    recorder = Recorder()
    recorder.gate.set()
    batcher = Batcher(recorder.write, max_items=3)
    results = await asyncio.gather(*(batcher.put(item) for item in (1, 2)), return_exceptions=True)
    assert isinstance(results[0], ValueError)
    assert results[1] == 20


async def test_a_failed_write_fails_its_items_and_not_those_that_come_after() -> None:
    failures = [OSError("gone")]

    async def write(items: list[int]) -> list[int]:
        if failures:
            raise failures.pop()
        return items

    batcher = Batcher(write, max_items=2, common=OSError)
    results = await asyncio.gather(*(batcher.put(item) for item in (1, 2, 3)), return_exceptions=True)
    assert [type(result) for result in results] == [OSError, OSError, int]
    assert await batcher.add(4) == 4


async def test_one_bad_item_fails_alone() -> None:
    batches: list[list[int]] = []

    async def write(items: list[int]) -> list[int]:
        batches.append(items)
        if 0 in items:
            raise ZeroDivisionError
        return items

    batcher = Batcher(write, max_items=3)
    results = await asyncio.gather(*(batcher.put(item) for item in (1, 0, 2)), return_exceptions=True)
    assert [type(result) for result in results] == [int, ZeroDivisionError, int]
    assert batches == [[1, 0, 2], [1], [0], [2]]


async def test_a_writer_that_answers_too_little_is_an_error_and_not_a_hang() -> None:
    async def write(_: list[int]) -> list[int]:
        return []

    with pytest.raises(ValueError, match="shorter"):
        await asyncio.wait_for(Batcher(write, max_items=1).add(1), 5)


async def test_a_cancelled_caller_harms_nobody_else() -> None:
    recorder = Recorder()
    batcher = Batcher(recorder.write, max_items=10)
    doomed, kept = batcher.put(2), batcher.put(4)
    await started(recorder, 1)
    doomed.cancel()
    recorder.gate.set()
    assert await kept == 40
    assert recorder.batches == [[2, 4]]


async def test_as_many_writes_are_under_way_as_there_are_writers() -> None:
    recorder = Recorder()
    batcher = Batcher(recorder.write, max_items=1, writers=2)
    futures = [batcher.put(item) for item in (0, 2, 4)]
    await started(recorder, 2)
    assert len(batcher) == 1
    recorder.gate.set()
    assert await asyncio.gather(*futures) == [0, 20, 40]


async def test_flush_returns_when_all_is_written() -> None:
    recorder = Recorder()
    recorder.gate.set()
    batcher = Batcher(recorder.write, max_items=1)
    futures = [batcher.put(item) for item in (0, 2, 4)]
    await batcher.flush()
    assert all(future.done() for future in futures)
