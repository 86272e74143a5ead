"""A TCP proxy that can be told to misbehave: what lies between the services and their servers during a chaos run."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

BLOCK = 64 * 1024


class Proxy:
    """Forwards connections to a port on loopback. `delay` (seconds) holds back every block that passes, in either direction."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._pairs: set[asyncio.Task[None]] = set()
        self.delay = 0.0
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._pairs, return_exceptions=True)

    def cut(self) -> int:
        """Breaks every connection; how many those were."""
        for pair in self._pairs:
            pair.cancel()
        return len(self._pairs)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = asyncio.current_task()
        assert pair
        self._pairs.add(pair)
        pair.add_done_callback(self._pairs.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pump(reader, back))
                    group.create_task(self._pump(there, writer))
            except* OSError:
                pass
            finally:
                back.transport.abort()
        writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while block := await source.read(BLOCK):
            if self.delay:
                await asyncio.sleep(self.delay)
            target.write(block)
            await target.drain()
        raise ConnectionResetError  # one side left: the other goes too
