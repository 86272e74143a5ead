"""Somebody who asked to be told: a server of aiohttp's that keeps what came, and answers as a test wants.

    async with Receiver("127.77.0.1") as receiver:
        receiver.answers = [503, 200]        # the last for ever
        … receiver.url …
        [call, again] = await receiver.calls(2)

An answer is a status, a response, or an async function that makes one of the request.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from aiohttp import web

from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Answer = int | web.Response | Callable[[web.Request], Awaitable[web.StreamResponse]]


class Call(NamedTuple):
    """A request as it came; `at` is of the monotonic clock, `path` with its query."""

    at: float
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> Any:
        """What it says."""
        return json.loads(self.body)

    def signed_with(self, secret: str) -> bool:
        """By the specification, and without any code of the sender's."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        content = self.headers["webhook-id"].encode() + b"." + self.headers["webhook-timestamp"].encode() + b"." + self.body
        expected = "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        fresh = abs(time.time() - int(self.headers["webhook-timestamp"])) < 60
        return fresh and expected in self.headers["webhook-signature"].split(" ")


class Receiver:
    """A server on a free port of an address of loopback."""

    def __init__(self, address: str = "127.77.0.1") -> None:
        self.address = address
        self.answers: list[Answer] = [204]
        self.came: list[Call] = []

    @property
    def url(self) -> str:
        """Where it wants to be told; the query is a secret of its own."""
        return f"http://{self.address}:{self.port}/told?token=hush"

    async def calls(self, count: int, *, seconds: float = 20.0) -> list[Call]:
        """What came, once it is so many."""

        async def enough() -> bool:
            return len(self.came) >= count

        await until(enough, seconds=seconds)
        return self.came

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_route("*", "/{any:.*}", self._called)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.address, 0)
        await site.start()
        self.port: int = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _called(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.came.append(Call(time.monotonic(), request.path_qs, headers, await request.read()))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, int):
            return web.Response(status=answer)
        return answer if isinstance(answer, web.Response) else await answer(request)


async def never(_: web.Request) -> web.StreamResponse:
    """Takes the request and never answers."""
    await asyncio.Event().wait()
    raise AssertionError


class Endless:
    """A success, with a body without end. `sent` is what it got rid of, in bytes."""

    def __init__(self) -> None:
        self.sent = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)
            self.sent += 65536
