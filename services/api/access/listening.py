"""The socket that the api listens on, and uvicorn on it."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import math
import resource
import socket
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, cast

import msgspec
import uvicorn

from services.api.access.protocol import KEEP_ALIVE_SECONDS, Limits, Protocol, sweep
from shared.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from shared.settings import Settings

BACKLOG = 2048
LIMITS = Limits(connections=4000)
"""Of connections, as far as the limit of open files allows: an idle one takes some 20 kB."""
OTHER_FILES = 200
"""Kept for what isn't a client's connection: those to MongoDB and RabbitMQ."""
EVERYWHERE = [("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer")]
"""Headers of every answer, whoever gives it."""


def listen(settings: Settings) -> socket.socket:
    """A socket on which several processes can listen at once. Raises SettingsError."""
    family, protocol, address = _bound(settings)
    if not on_loopback(settings) and not settings.api_keys and not settings.allow_anonymous:
        problem = (
            f"BOWERBIRD_HOST is {settings.host!r}, so anybody on the network could use the api: set BOWERBIRD_API_KEYS, "
            "or BOWERBIRD_ALLOW_ANONYMOUS=true if that is what you want."
        )
        raise SettingsError([problem])
    listener = socket.socket(family, socket.SOCK_STREAM, protocol)
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


def on_loopback(settings: Settings) -> bool:
    """Whether only this machine can reach the api. Raises SettingsError."""
    return ipaddress.ip_address(str(_bound(settings)[2][0]).partition("%")[0]).is_loopback


def _bound(settings: Settings) -> tuple[socket.AddressFamily, int, tuple[Any, ...]]:
    # A name can stand for several addresses; what counts is the one that is bound.
    try:
        family, _, protocol, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise SettingsError([f"BOWERBIRD_HOST is {settings.host!r}, but should be an address of this machine."]) from None
    return family, protocol, address


def url(listener: socket.socket) -> str:
    """Where the socket is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@asynccontextmanager
async def serving(app: Callable[..., Awaitable[None]], listener: socket.socket, *, grace: float, limits: Limits = LIMITS) -> AsyncIterator[None]:
    """Serves until the block ends, then finishes the requests that are under way, for `grace` seconds at most."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files != resource.RLIM_INFINITY:
        limits = msgspec.structs.replace(limits, connections=max(1, min(limits.connections, files - OTHER_FILES)))
    config = uvicorn.Config(
        app,
        loop="none",
        http=cast("type[asyncio.Protocol]", functools.partial(Protocol, limits=limits)),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # a warning of uvicorn's is a stranger's bad request
        access_log=False,
        server_header=False,
        headers=EVERYWHERE,
        proxy_headers=False,  # it would believe X-Forwarded-For of anybody on this machine; gate.py asks the settings
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(grace),
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    sweeping = asyncio.create_task(sweep(server.server_state.connections, limits.sweep_seconds))
    try:
        yield
    finally:
        server.should_exit = True
        await serving
        sweeping.cancel()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals alone: shared/process.py deals with them."""
        yield
