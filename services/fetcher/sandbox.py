"""Processes in which Pillow looks at what is unusual, and pages are scanned: little memory, a deadline, none of our secrets, and expendable.

A file that takes too long, too much, or the process with it costs that process and nothing else. The process has no
setting of ours in its environment, opens no file and no connection, and ends when its input does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from services.fetcher.body import Body
from services.fetcher.html.pages import MAX_BYTES, Scan
from shared.errors import PermanentError, Reason, TransientError

if TYPE_CHECKING:
    from types import TracebackType

    from services.fetcher.frames import Most
    from services.fetcher.headers import Size

PROCESSES = 2
DEADLINE = 5.0
"""Seconds for one file; the slowest of Pillow's own collection takes 0.02."""

START = 30.0
"""Seconds for a process to start and to answer for the first time."""

_log = logging.getLogger(__name__)
_LENGTH = 8
_PIECE = 256 * 1024
_LONGEST = 2 * MAX_BYTES
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME")
_TRIES = 2


class Page(msgspec.Struct, array_like=True, frozen=True):
    """What is asked of a process that is to scan a page for up to `limit` images. Without one it is to say an image's size."""

    url: str
    content_type: str | None
    limit: int


class Verdict(msgspec.Struct, array_like=True):
    """A process's answer: a size, or what is on a page, or why there is neither."""

    width: int = 0
    height: int = 0
    reason: Reason | None = None
    detail: str = ""
    page: Scan | None = None


class Sandbox:
    """Up to PROCESSES processes, started when first needed and again when they have died."""

    def __init__(self, most: Most, *, processes: int = PROCESSES, deadline: float = DEADLINE, python: str = sys.executable) -> None:
        self._most = most
        self._deadline = deadline
        self._python = python
        self._idle: list[asyncio.subprocess.Process] = []
        self.processes: set[asyncio.subprocess.Process] = set()
        self._free = asyncio.Semaphore(processes)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await asyncio.gather(*(self._end(process) for process in list(self.processes)))

    async def size_of(self, body: Body) -> Size:
        """Width and height in pixels. Raises PermanentError as open_with_pillow does; not_an_image if a process died of it twice.

        Raises TransientError (timeout) if no process can be started.
        """
        verdict = await self._verdict(body, None)
        return verdict.width, verdict.height

    async def scan(self, body: Body, page: Page) -> Scan:
        """What is on a page. Raises PermanentError (not_an_image) if it takes too long or too much, TransientError as `size_of` does."""
        verdict = await self._verdict(body, page)
        return verdict.page or Scan(images=[])

    async def _verdict(self, body: Body, page: Page | None) -> Verdict:
        async with self._free:
            # The second try is for the innocent: the process may have been killed for the machine's memory.
            for _ in range(_TRIES):
                verdict = await self._ask(body, page)
                if verdict is None:
                    continue
                if verdict.reason:
                    raise PermanentError(verdict.reason, verdict.detail)
                return verdict
        raise _unreadable(page)

    async def _ask(self, body: Body, page: Page | None) -> Verdict | None:
        process = await self._take()
        try:
            async with asyncio.timeout(self._deadline):
                verdict = await _exchange(process, body, page)
        except TimeoutError:
            await self._end(process)
            raise _unreadable(page) from None
        except (asyncio.IncompleteReadError, ConnectionError, RuntimeError, msgspec.MsgspecError):  # RuntimeError: uvloop's closed pipe
            await self._end(process)
            return None
        except BaseException:  # cancelled with half a message sent
            await asyncio.shield(self._end(process))
            raise
        self._idle.append(process)
        return verdict

    async def _take(self) -> asyncio.subprocess.Process:
        while self._idle:
            process = self._idle.pop()
            if process.returncode is None:
                return process
            await self._end(process)
        try:
            return await self._start()
        except (OSError, EOFError, RuntimeError, msgspec.MsgspecError) as error:
            # Not the file's fault: it must not end as no image because this machine is short of something.
            _log.exception("a process for opening images does not start")
            raise TransientError(Reason.TIMEOUT, "The image could not be examined just now.") from error

    async def _start(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            self._python, "-m", "services.fetcher.sandboxed", str(self._most.pixels), str(self._most.frames),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            cwd=Path(__file__).parents[2], env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            # Ctrl-C is for us: the process ends with its input, after the file that it has.
            start_new_session=True,
        )  # fmt: skip
        self.processes.add(process)
        try:
            async with asyncio.timeout(START):
                await _exchange(process, Body(), None)
        except BaseException:
            await asyncio.shield(self._end(process))
            raise
        return process

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()
        self.processes.discard(process)


async def _exchange(process: asyncio.subprocess.Process, body: Body, page: Page | None) -> Verdict:
    if process.stdin is None or process.stdout is None:
        raise ConnectionError
    job = msgspec.msgpack.encode(page)
    process.stdin.write(len(job).to_bytes(_LENGTH, "big") + job + body.size.to_bytes(_LENGTH, "big"))
    for number in range(body.parts):
        part = body.part(number)
        for at in range(0, len(part), _PIECE):
            # In pieces, since much in one go is copied in one go, and nothing else runs meanwhile.
            process.stdin.write(part[at : at + _PIECE])
            await process.stdin.drain()
    length = int.from_bytes(await process.stdout.readexactly(_LENGTH), "big")
    if length > _LONGEST:
        raise ConnectionError
    return msgspec.msgpack.decode(await process.stdout.readexactly(length), type=Verdict)


def _unreadable(page: Page | None) -> PermanentError:
    done = "page can't be scanned for images" if page else "image can't be opened"
    return PermanentError(Reason.NOT_AN_IMAGE, f"The {done} within the limits of time and memory.")
