"""An api that does nothing: uvicorn with one answer ready. What is left between it and ours is our own doing."""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import uvicorn

from bench.crew import ROOT
from bench.origin import running
from services.local import ports
from services.local.children import Child

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path


@asynccontextmanager
async def bare_api(folder: Path) -> AsyncIterator[int]:
    """One process of it, and its port. `/202` answers that with 600 bytes, `/304` with none, `/200/N` with N bytes."""
    port = ports.any_free("127.0.0.1")
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = Child("bare api", [sys.executable, "-m", "bench.bare", str(port)], environ=environ, log=folder / "bare.log")
    async with running(child, port):
        yield port


async def app(scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """The ASGI application."""
    _, status, *size = scope["path"].split("/")
    while (await receive()).get("more_body"):
        pass
    body = _BODY[: int(size[0])] if size else _BODY[: 600 if status == "202" else 0]
    headers = [(b"content-type", b"application/json"), *([(b"content-length", str(len(body)).encode())] if status != "304" else [])]
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body})


_BODY = bytes(1024**2)

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", lifespan="off", access_log=False, log_level="error")
