"""A natural group commit: what arrives while one write is under way becomes the next write.

No timer: alone, an item is written at once; under load, batches grow until the writer keeps up. The storer's writes, the api's
inserts and the dispatcher all go through here, because one round trip for many is what makes them fast (docs/decisions/0002-batches.md).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from shared import tracing
from shared.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from opentelemetry.trace import Span

Item = TypeVar("Item")
Result = TypeVar("Result")
_Entry: TypeAlias = "tuple[Item, asyncio.Future[Result], Span | None]"


class Batcher(Generic[Item, Result]):
    """Collects items into batches for `write`, which returns a result for each item, in their order.

    A result that is an exception is raised for its item alone. An exception that `write` raises is raised for all of them if it is of the
    `common` kind; after any other they are written one by one.
    At most `max_items` items, and items of `max_size` in all as `size` measures them (but always one), go into a batch;
    at most `writers` writes are under way at once. With a `name` they are traced by it (shared/tracing.py).
    """

    def __init__(
        self,
        write: Callable[[list[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        max_items: int,
        max_size: int | None = None,
        size: Callable[[Item], int] = lambda _: 0,
        writers: int = 1,
        common: type[Exception] | tuple[type[Exception], ...] = StoreUnavailable,
        name: str | None = None,
    ) -> None:
        self._write = write
        self._max_items = max_items
        self._max_size = max_size
        self._size = size
        self._idle_writers = writers
        self._common = common
        self._name = name
        self._waiting: deque[_Entry[Item, Result]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many items wait for a write that has not begun."""
        return len(self._waiting)

    async def add(self, item: Item) -> Result:
        """Returns when `item` is written. Cancelling the caller doesn't take the item back."""
        return await self.put(item)

    def put(self, item: Item) -> asyncio.Future[Result]:
        """As `add`, for callers that need not wait now; the future must be awaited, or its exception be looked at, some time."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future, tracing.here()))
        if self._idle_writers:
            self._idle_writers -= 1
            task = asyncio.create_task(self._drain())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return future

    async def flush(self) -> None:
        """Returns when all that was added before is written, or has failed."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def _drain(self) -> None:
        try:
            while batch := self._take():
                await self._write_batch(batch)
        finally:
            self._idle_writers += 1

    def _take(self) -> list[_Entry[Item, Result]]:
        batch: list[_Entry[Item, Result]] = []
        total = 0
        while self._waiting and len(batch) < self._max_items:
            total += self._size(self._waiting[0][0])
            if batch and self._max_size is not None and total > self._max_size:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _write_batch(self, batch: list[_Entry[Item, Result]]) -> None:
        try:
            results = await self._traced(batch)
            pairs = list(zip(batch, results, strict=True))
        except Exception as error:  # noqa: BLE001  (handed to everybody who waits for it)
            if len(batch) > 1 and not isinstance(error, self._common):
                # Perhaps one item's own fault: each for itself, so that it fails alone.
                for entry in batch:
                    await self._write_batch([entry])
                return
            pairs = [(entry, error) for entry in batch]
        except BaseException:
            for _, future, _ in batch:
                future.cancel()
            raise
        for (_, future, _), result in pairs:
            if future.done():  # its caller was cancelled
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    async def _traced(self, batch: list[_Entry[Item, Result]]) -> Sequence[Result | Exception]:
        items = [item for item, _, _ in batch]
        if self._name is None:
            return await self._write(items)
        with tracing.together(self._name, [span for _, _, span in batch]):
            return await self._write(items)
