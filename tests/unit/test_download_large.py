"""Large bodies go to disk, within a budget, and whatever happens nothing of them stays there."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import itertools
import random
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

from services.fetcher.body import Body, unnamed_file
from services.fetcher.download import Downloader
from services.fetcher.hosts import PutOff
from services.fetcher.limits import Limits
from shared import urls
from shared.errors import DownloadError, PermanentError, Reason, TransientError
from shared.events import PART_BYTES
from shared.settings import Settings
from tests.origin import Origin, body, chunked, head, held, raw, truncated

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from tests.origin import Behaviour, Request

pytestmark = pytest.mark.anyio

LARGE = random.Random(1).randbytes(2 * PART_BYTES)
SMALL = LARGE[:1000]
SETTINGS = Settings(
    fetch_allow=(ip_network("127.77.0.0/16"),), max_image_bytes=3 * PART_BYTES, fetch_disk=4 * PART_BYTES, fetch_concurrency=16, fetch_timeout=20.0
)


LIMITS = Limits()


class Here:
    """An origin, a downloader and every file that it makes."""

    def __init__(self, origin: Origin, settings: Settings, limits: Limits, make_file: Callable[[], IO[bytes]]) -> None:
        self.origin = origin
        self.files: list[IO[bytes]] = []
        self._make_file = make_file
        self.downloader = Downloader(settings, limits=limits, make_body=lambda: Body(make_file=self._made))
        self.disk = self.downloader._disk
        self._numbers = itertools.count()

    def _made(self) -> IO[bytes]:
        self.files.append(self._make_file())
        return self.files[-1]

    def start(self, behaviour: Behaviour) -> asyncio.Task[Body]:
        """A download under way."""
        url = urls.parse(self.origin.on(f"/{next(self._numbers)}", behaviour))

        async def download() -> Body:
            return (await self.downloader.download(url)).body

        return asyncio.create_task(download())


@asynccontextmanager
async def started(
    settings: Settings = SETTINGS,
    limits: Limits = LIMITS,
    make_file: Callable[[], IO[bytes]] = unnamed_file,
) -> AsyncGenerator[Here]:
    """At the end nothing is left."""
    async with Origin("127.77.0.1") as origin:
        here = Here(origin, settings, limits, make_file)
        async with here.downloader:
            yield here
            assert all(file.closed for file in here.files)
            assert (here.disk.free, here.disk.waiting) == (max(settings.fetch_disk, settings.max_image_bytes), 0)


@pytest.mark.parametrize("behaviour", [body(LARGE), chunked(LARGE[at : at + 99_999] for at in range(0, len(LARGE), 99_999)), raw(head(), LARGE)])
async def test_a_large_body_goes_to_a_file_and_comes_back_whole(behaviour: Behaviour) -> None:
    async with started() as here:
        with await here.start(behaviour) as found:
            assert (found.size, found.content, found.sha256) == (len(LARGE), None, hashlib.sha256(LARGE).hexdigest())
            assert b"".join(found.part(number) for number in range(found.parts)) == LARGE
            assert len(here.files) == 1
            assert not here.files[0].closed


async def test_a_small_body_never_sees_the_disk() -> None:
    async with started() as here:
        with await here.start(body(LARGE[:PART_BYTES])) as found:
            assert found.content == LARGE[:PART_BYTES]
        assert not here.files


@pytest.mark.parametrize(("declared", "taken"), [(True, len(LARGE)), (False, SETTINGS.max_image_bytes)])
async def test_a_body_takes_as_much_of_the_budget_as_it_can_come_to(declared: bool, taken: int) -> None:  # noqa: FBT001
    async with started() as here:
        with await here.start(body(LARGE) if declared else chunked([LARGE])):
            assert here.disk.free == SETTINGS.fetch_disk - taken


async def stops(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(head(content_length=len(LARGE)) + LARGE[:-1])
    await asyncio.Event().wait()


async def drips(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(head(content_length=len(LARGE)) + LARGE[: PART_BYTES + 1])
    while not writer.is_closing():
        writer.write(b"x")
        await asyncio.sleep(0.01)


FAILURES: dict[str, tuple[Behaviour, type[DownloadError], Reason]] = {
    "chunks without end": (chunked(itertools.repeat(LARGE[:100_000])), PermanentError, Reason.TOO_LARGE),
    "no length and no end": (raw(head(), *[LARGE] * 5), PermanentError, Reason.TOO_LARGE),
    "cut off": (truncated(LARGE), TransientError, Reason.TRUNCATED),
    "chunks that break off": (chunked([LARGE], end=False), TransientError, Reason.TRUNCATED),
    "a length that is a lie": (raw(head(content_length=len(LARGE)) + LARGE[: PART_BYTES + 9]), TransientError, Reason.TRUNCATED),
    "one that stops": (stops, TransientError, Reason.TIMEOUT),
    "one that drips": (drips, TransientError, Reason.TIMEOUT),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_whatever_goes_wrong_the_file_is_closed(name: str) -> None:
    behaviour, kind, reason = FAILURES[name]
    async with started(dataclasses.replace(SETTINGS, fetch_timeout=2.0), Limits(idle=0.5)) as here:
        with pytest.raises(DownloadError) as caught:
            await here.start(behaviour)
        assert (type(caught.value), caught.value.reason) == (kind, reason)
        assert len(here.files) == 1


async def test_a_length_that_is_declared_too_small_is_where_the_body_ends() -> None:
    async with started() as here:
        with await here.start(raw(head(content_length=PART_BYTES + 1) + LARGE)) as found:
            assert found.size == PART_BYTES + 1


async def test_cancelling_closes_the_file() -> None:
    async with started() as here:
        task = here.start(stops)
        while not here.files:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_full_disk_ends_the_attempt_and_not_the_fetcher() -> None:
    async with started(make_file=lambda: Path("/dev/full").open("r+b", buffering=0)) as here:
        with pytest.raises(TransientError) as caught:
            await here.start(body(LARGE))
        assert caught.value.reason == Reason.TOO_LARGE
        with await here.start(body(SMALL)) as found:
            assert found.content == SMALL


async def test_waiting_for_room_is_not_the_origins_time_and_small_bodies_do_not_wait() -> None:
    async with started(dataclasses.replace(SETTINGS, fetch_timeout=0.5)) as here:
        first, second = await here.start(body(LARGE)), await here.start(body(LARGE))
        waiting, began = here.start(body(LARGE)), asyncio.get_running_loop().time()
        while not here.disk.waiting or asyncio.get_running_loop().time() < began + 1.0:
            with await here.start(body(SMALL)) as small:
                assert small.content == SMALL
        assert not waiting.done()
        first.close()
        with second, await waiting as found:
            assert found.size == len(LARGE)


async def test_the_origins_time_goes_on_after_the_wait() -> None:
    async with started(dataclasses.replace(SETTINGS, fetch_timeout=0.5)) as here:
        first, second = await here.start(body(LARGE)), await here.start(body(LARGE))
        waiting = here.start(drips)
        while not here.disk.waiting:
            await asyncio.sleep(0)
        first.close()
        with second, pytest.raises(TransientError) as caught:
            await waiting
        assert caught.value.reason == Reason.TIMEOUT


async def test_too_many_large_bodies_are_put_off_rather_than_let_wait() -> None:
    gate = asyncio.Event()
    async with started() as here:
        tasks = [here.start(held(gate, body(LARGE))) for _ in range(16)]
        gate.set()
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        assert any(isinstance(task.exception(), PutOff) for task in done)
        assert here.disk.free == 0
        while pending or done:
            for task in done:
                if not task.exception():
                    task.result().close()
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED) if pending else (set(), set())
        assert 2 + 4 <= sum(not task.exception() for task in tasks) < 16
        assert all(isinstance(task.exception(), PutOff | None) for task in tasks)


async def test_an_image_may_be_as_large_as_is_set_whatever_the_budget() -> None:
    async with started(dataclasses.replace(SETTINGS, fetch_disk=1)) as here:
        with await here.start(body(LARGE)) as found:
            assert found.size == len(LARGE)
