"""A TCP proxy that can be told to misbehave: what lies between the services and their servers when tests break things."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

BLOCK = 64 * 1024


class Proxy:
    """Forwards connections to a port on loopback. `delay` (seconds) holds back every block that passes, in either direction."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._pairs: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.delay = 0.0
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.shut()
        await asyncio.gather(*self._pairs, return_exceptions=True)

    async def open(self) -> None:
        """Takes connections, on the same port every time."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def shut(self) -> None:
        """Breaks every connection and refuses new ones, until it is opened again."""
        if self._server:
            self._server.close()
            self._server = None
        self.cut()

    def hold(self) -> None:
        """Takes connections and bytes and passes nothing on, as a network does that loses packets, until `release`."""
        self._flowing.clear()

    def release(self) -> None:
        """Passes on what was held."""
        self._flowing.set()

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
            except* (OSError, RuntimeError):
                pass  # RuntimeError is uvloop's word for a connection that was closed while a block was held back
            finally:
                back.transport.abort()
        writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while block := await source.read(BLOCK):
            if self.delay:
                await asyncio.sleep(self.delay)
            await self._flowing.wait()
            target.write(block)
            await target.drain()
        raise ConnectionResetError  # one side left: the other goes too
