"""The socket that the api listens on, and uvicorn on it."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import socket
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import uvicorn

from shared.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from litestar import Litestar

    from shared.settings import Settings

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75
"""Longer than proxies keep idle connections (60 s for most), so that it is they who close them, and no request meets a closing one."""


def listen(settings: Settings) -> socket.socket:
    """A socket on which several processes can listen at once. Raises SettingsError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise SettingsError([f"BOWERBIRD_HOST is {settings.host!r}, but should be an address of this machine."]) from None
    # A name can stand for several addresses; what counts is the one that is bound.
    beyond = not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback
    if beyond and not settings.api_keys and not settings.allow_anonymous:
        problem = (
            f"BOWERBIRD_HOST is {settings.host!r}, so anybody on the network could use the api: set BOWERBIRD_API_KEYS, "
            "or BOWERBIRD_ALLOW_ANONYMOUS=true if that is what you want."
        )
        raise SettingsError([problem])
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(
            [f"The api can't listen on {settings.host} port {settings.port}: {error.strerror} (BOWERBIRD_HOST, BOWERBIRD_PORT)."]
        ) from None
    listener.setblocking(False)  # noqa: FBT003  (takes no keyword)
    return listener


def url(listener: socket.socket) -> str:
    """Where the socket is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@asynccontextmanager
async def serving(app: Litestar, listener: socket.socket, *, grace: float) -> AsyncIterator[None]:
    """Serves until the block ends, then finishes the requests that are under way, for `grace` seconds at most."""
    config = uvicorn.Config(
        app,
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(grace),
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals alone: shared/process.py deals with them."""
        yield
