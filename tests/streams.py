"""A reader of server-sent events, as a client has it."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

SECONDS = 20.0


class Frame(NamedTuple):
    """What stands between two blank lines."""

    event: str | None
    id: str | None
    data: Any
    comment: str | None
    retry: str | None


class Stream:
    """Frames, as they come."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def frame(self) -> Frame:
        """The next. Raises StopAsyncIteration when the server has ended the stream."""
        fields: dict[str, str] = {}
        while line := await anext(self._lines):
            name, _, value = line.partition(":")
            assert (name or "comment") not in fields
            fields[name or "comment"] = value.removeprefix(" ")
        data = json.loads(fields["data"]) if "data" in fields else None
        return Frame(fields.get("event"), fields.get("id"), data, fields.get("comment"), fields.get("retry"))

    async def event(self) -> Frame:
        """The next that is an event."""
        async with asyncio.timeout(SECONDS):
            while not (frame := await self.frame()).event:
                pass
        return frame

    async def ends(self) -> bool:
        """Whether the server ends the stream, whatever it sends before."""
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    await self.frame()
        except StopAsyncIteration:
            return True


@asynccontextmanager
async def streaming(client: httpx.AsyncClient, path: str = "/events", **more: Any) -> AsyncIterator[Stream]:
    """A stream that is open: its first frame has come."""
    async with client.stream("GET", path, **more) as answer:
        assert answer.status_code == 200, await answer.aread()
        yield Stream(answer)
