"""Processes that die at a step of a test's choice: their collaborators stop there, and do nothing at all from then on.

A dead process runs no `except` and no `finally`. So nothing is raised at the step: whoever takes it hangs, and so does
whoever takes another one later, until the test has cut the process off from its servers and lets go of what hangs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, cast

from services.fetcher.download import Downloader
from shared.broker import Publisher
from shared.mongo import Document, Mongo

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from motor.motor_asyncio import AsyncIOMotorCollection

    from services.fetcher.download import Download
    from shared.errors import BrokerUnavailable
    from shared.events import DownloadRequested, Event
    from shared.settings import Settings
    from shared.urls import Url

Result = TypeVar("Result")

BEFORE, AFTER = "before", "after"
FIRST, LAST = "after the first of", "after the last of"
"""Of several things that one call does, in whichever order the server does them."""

WRITES = frozenset({"insert_one", "insert_many", "bulk_write", "update_one", "update_many", "delete_many"})


class Crash:
    """A death at a moment such as "before images.bulk_write"; none when that is None. `steps` are those that were taken."""

    def __init__(self, moment: str | None = None) -> None:
        self.moment = moment
        self.happened = asyncio.Event()
        self.steps: list[str] = []
        self._hanging: set[asyncio.Task[Any]] = set()

    async def step(self, name: str, whole: Callable[[], Awaitable[Result]], parts: dict[str, Callable[[], Awaitable[Any]]] | None = None) -> Result:
        """Takes a step, or dies of it; of `parts` one is done before that."""
        if self.happened.is_set() or self.moment == f"{BEFORE} {name}":
            await self._die()
        for when, part in (parts or {}).items():
            if self.moment == f"{when} {name}":
                await part()
                await self._die()
        result = await whole()
        if self.happened.is_set():
            await self._die()
        self.steps.append(name)
        if self.moment == f"{AFTER} {name}":
            await self._die()
        return result

    async def _die(self) -> None:
        self.happened.set()
        task = asyncio.current_task()
        assert task
        self._hanging.add(task)
        await asyncio.get_running_loop().create_future()

    def bury(self) -> None:
        """Lets go of what hangs. Call it when the process can't reach its servers any more."""
        for task in self._hanging:
            task.cancel()


class CrashingMongo(Mongo):
    """Each write is a step, called as "collection.method"."""

    def __init__(self, url: str, crash: Crash) -> None:
        super().__init__(url, timeout=10)
        self._crash = crash

    def __getitem__(self, name: str) -> AsyncIOMotorCollection[Document]:
        return cast("AsyncIOMotorCollection[Document]", _Collection(super().__getitem__(name), self._crash))


class _Collection:
    def __init__(self, collection: AsyncIOMotorCollection[Document], crash: Crash) -> None:
        self._collection = collection
        self._crash = crash

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._collection, name)
        if name not in WRITES:
            return method

        async def call(what: Any, *more: Any, **options: Any) -> Any:
            def do(part: Any) -> Callable[[], Awaitable[Any]]:
                return lambda: method(part, *more, **options)

            several = isinstance(what, list) and len(what) > 1
            parts = {FIRST: do(what[:1]), LAST: do(what[-1:])} if several else {}
            return await self._crash.step(f"{self._collection.name}.{name}", do(what), parts)

        return call


class CrashingPublisher(Publisher):
    """Each event that is published is a step, called as "publish event"."""

    def __init__(self, url: str, crash: Crash, *, delays: Sequence[float]) -> None:
        super().__init__(url, delays=delays)
        self._crash = crash

    async def publish(self, event: Event, delay: float | None = None, wait: float | None = None) -> None:
        publish = super().publish
        await self._crash.step(f"publish {event.NAME}", lambda: publish(event, delay, wait))

    async def publish_all(self, requests: Sequence[DownloadRequested], causes: Sequence[str | None]) -> list[BrokerUnavailable | None]:
        publish_all = super().publish_all

        def do(part: slice) -> Callable[[], Awaitable[Any]]:
            return lambda: publish_all(requests[part], causes[part])

        parts = {FIRST: do(slice(1)), LAST: do(slice(-1, None))} if len(requests) > 1 else {}
        return await self._crash.step("publish all download-requested", lambda: publish_all(requests, causes), parts)

    async def announce(self, event: Event) -> None:
        announce = super().announce
        await self._crash.step(f"publish {event.NAME}", lambda: announce(event))


class CrashingDownloader(Downloader):
    """Each download is a step, whatever comes of it."""

    def __init__(self, settings: Settings, crash: Crash) -> None:
        super().__init__(settings)
        self._crash = crash

    async def download(self, url: Url, *, etag: str | None = None, last_modified: str | None = None) -> Download:
        download = super().download

        async def settled() -> Download | Exception:
            try:
                return await download(url, etag=etag, last_modified=last_modified)
            except Exception as error:  # noqa: BLE001  (raised below, after the step)
                return error

        outcome = await self._crash.step("download", settled)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
