"""Processes that look at what strangers made: little memory, a deadline, none of our secrets, and expendable.

What takes too long, too much, or the process with it costs that process and nothing else. It has no setting of ours in its environment,
opens no file and no connection, and ends when its input does. What runs there is a module of the service whose sandbox it is, around
sandboxed.py; its answers are no more to be believed than what it was given.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec

from shared.errors import NoSandbox, Overtaxed
from shared.sandboxed import LENGTH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from types import TracebackType

    Content = Callable[[], AsyncIterator[bytes]]

PROCESSES = 2
START = 30.0
"""Seconds for a process to start and to answer for the first time."""
SENDING = 30.0
"""Seconds for a process to take what it is given, which it only has to hold."""

_log = logging.getLogger("bowerbird.sandbox")
_PIECE = 256 * 1024
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME")
_TRIES = 2

Answer = TypeVar("Answer")


class Sandbox:
    """Up to `processes` processes of a program (a module and its arguments), started when first needed and again when they have died.

    A job may take `deadline` seconds, and its answer have `longest` bytes.
    """

    def __init__(self, program: Sequence[str], *, deadline: float, longest: int, processes: int = PROCESSES, python: str = sys.executable) -> None:
        self._command = (python, "-m", *program)
        self._deadline = deadline
        self._longest = longest
        self._idle: list[asyncio.subprocess.Process] = []
        self.processes: set[asyncio.subprocess.Process] = set()
        self._free = asyncio.Semaphore(processes)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await asyncio.gather(*(self._end(process) for process in list(self.processes)))

    async def ask(self, job: bytes, size: int, content: Content, decode: Callable[[bytes], Answer]) -> Answer:
        """A process's answer to a job about some content of `size` bytes, which is asked for once more should the process die.

        `decode` raises msgspec.MsgspecError for what is no answer. Raises Overtaxed for a job that takes too long or that a process has died of
        twice, NoSandbox if no process can be started, EOFError if the content isn't of that size, and what `content` raises.
        """
        async with self._free:
            # The second try is for the innocent: the process may have been killed for the machine's memory.
            for _ in range(_TRIES):
                process = await self._take()
                try:
                    answer = decode(await self._exchange(process, job, size, content, self._deadline))
                except (asyncio.IncompleteReadError, ConnectionError, RuntimeError, msgspec.MsgspecError):  # RuntimeError: uvloop's closed pipe
                    await self._end(process)
                except BaseException:  # too slow, or cancelled with half a message sent
                    await asyncio.shield(self._end(process))
                    raise
                else:
                    self._idle.append(process)
                    return answer
        raise Overtaxed("Two processes have died of it.")

    async def _take(self) -> asyncio.subprocess.Process:
        while self._idle:
            process = self._idle.pop()
            if process.returncode is None:
                return process
            await self._end(process)
        try:
            return await self._start()
        except (OSError, EOFError, RuntimeError, NoSandbox, Overtaxed) as error:
            # Not the content's fault: it must not count as bad because this machine is short of something.
            _log.exception("a process of the sandbox does not start", extra={"program": self._command[2]})
            raise NoSandbox("No process can be started just now.") from error

    async def _start(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            cwd=Path(__file__).parents[1], env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            # Ctrl-C is for us: the process ends with its input, after the job that it has.
            start_new_session=True,
        )  # fmt: skip
        self.processes.add(process)
        try:
            await self._exchange(process, b"", 0, _nothing, START)
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

    async def _exchange(self, process: asyncio.subprocess.Process, job: bytes, size: int, content: Content, deadline: float) -> bytes:
        if process.stdin is None or process.stdout is None:
            raise ConnectionError
        try:
            async with asyncio.timeout(SENDING):
                await _send(process.stdin, job, size, content)
        except TimeoutError:
            raise NoSandbox("A process takes nothing.") from None
        try:
            async with asyncio.timeout(deadline):
                length = int.from_bytes(await process.stdout.readexactly(LENGTH), "big")
                if length > self._longest:
                    raise ConnectionError
                return await process.stdout.readexactly(length)
        except TimeoutError:
            raise Overtaxed(f"It takes more than {deadline:g} s.") from None


async def _send(pipe: asyncio.StreamWriter, job: bytes, size: int, content: Content) -> None:
    pipe.write(len(job).to_bytes(LENGTH, "big") + job + size.to_bytes(LENGTH, "big"))
    async for part in content():
        size -= len(part)
        for at in range(0, len(part), _PIECE):
            # In pieces, since much in one go is copied in one go, and nothing else runs meanwhile.
            pipe.write(part[at : at + _PIECE])
            await pipe.drain()
    if size:
        raise EOFError("The content is longer or shorter than it was said to be.")


async def _nothing() -> AsyncIterator[bytes]:
    for part in list[bytes]():
        yield part
