"""GET /events: what happens to images, as it happens, as server-sent events (HTML Living Standard, section 9.2).

With keys it needs one that can read, as a header like every other call: a browser's EventSource can't send one, but fetch() can, and its
body can be read as it comes. So there are no tickets in URLs, which end up in logs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from litestar import Request, route
from litestar.response.base import ASGIResponse
from litestar.response.streaming import ASGIStreamingResponse

from services.api import filters
from services.api.access.clients import Clients
from services.api.access.keys import STATE, Key
from services.api.http import parameters, replies
from services.api.http.problems import TOO_MANY_REQUESTS, UNAVAILABLE, Problem
from services.api.live import frames
from services.api.parts import parts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from litestar.types import Receive, Scope, Send

    from services.api.live.feed import Live
    from shared.settings import Settings

MOST_STREAMS = 500
"""In one process, some 30 kB each."""
MOST_OF_A_CLIENT = 32
KEEP_ALIVE_SECONDS = 15.0
"""Proxies close what is silent for a minute, most of them."""
READY_SECONDS = 2.0
AT_ONCE_BYTES = 64 * 1024
RETRY_SECONDS = 10
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold events back
    **replies.INERT,
}
_MEDIA_TYPE = "text/event-stream"


class Seats:
    """Who has a stream open. A client is a key or, without one, an address."""

    def __init__(self, settings: Settings, *, most: int = MOST_STREAMS, most_of_a_client: int = MOST_OF_A_CLIENT) -> None:
        self._clients = Clients(settings.trusted_proxies)
        self._most = most
        self._most_of_a_client = most_of_a_client
        self._taken: Counter[str] = Counter()

    def find(self, request: Request[Any, Any, Any]) -> str:
        """The name under which a request's client may take a seat. Raises Problem when there is none."""
        key: Key | None = request.scope["state"].get(STATE)
        address = request.scope["client"][0] if request.scope["client"] else ""
        forwarded_for = ", ".join(request.headers.getall("x-forwarded-for", [])).encode("latin-1")
        client = f"key {key.name}" if key else self._clients.client(address, forwarded_for or None)
        later = {"Retry-After": str(RETRY_SECONDS)}
        if self._taken[client] >= self._most_of_a_client:
            raise Problem(TOO_MANY_REQUESTS, f"{self._most_of_a_client} streams are open already, as many as a client may have.", headers=later)
        if self._taken.total() >= self._most:
            raise Problem(UNAVAILABLE, "As many streams are open as this server takes; try again.", headers=later)
        return client

    @contextmanager
    def taken(self, client: str) -> Iterator[None]:
        """For as long as a stream is open."""
        self._taken[client] += 1
        try:
            yield
        finally:
            self._taken[client] -= 1
            if not self._taken[client]:
                del self._taken[client]

    def __len__(self) -> int:
        """How many streams are open."""
        return self._taken.total()


class EventStream(ASGIStreamingResponse):
    """A stream that has a seat while it is sent, whichever side ends it."""

    def __init__(self, live: Live, seats: Seats, client: str, iterator: AsyncIterator[bytes]) -> None:
        super().__init__(iterator=iterator, headers=_HEADERS, media_type=_MEDIA_TYPE)
        self._live = live
        self._seats = seats
        self._client = client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends until the client leaves, or the server."""
        with self._seats.taken(self._client), self._live.interest():
            await super().__call__(scope, receive, send)


@route("/events", http_method=["GET", "HEAD"])
async def events(request: Request[Any, Any, Any]) -> ASGIResponse:
    """What happens to images from now on, or since the event that the client has seen last."""
    here = parts(request)
    given = parameters.read(request.scope["query_string"], ("batch", "page", "last_event_id"))
    wanted = filters.read(given)
    seen = request.headers.get("last-event-id", given.get("last_event_id"))
    if request.method == "HEAD":
        return ASGIResponse(headers={**_HEADERS, "Content-Type": _MEDIA_TYPE}, is_head_response=True)
    client = here.seats.find(request)
    await here.live.ready(READY_SECONDS)
    owners = frozenset(owner for owner in (wanted.batch, wanted.page) if owner is not None)
    ring = here.live.ring
    place = ring.last if seen is None else ring.place_of(seen)
    # Now, and not when the first frame is sent: whoever has this answer's head may read lists, and misses nothing that is newer than those.
    frames_of = stream(here.live, ring.last if place is None else place, owners, unknown=place is None)
    return EventStream(here.live, here.seats, client, frames_of)


async def stream(
    live: Live, place: int, wanted: frozenset[str], *, unknown: bool = False, keep_alive: float = KEEP_ALIVE_SECONDS
) -> AsyncIterator[bytes]:
    """Frames of what happens after a place, to images that all of the pages and batches `wanted` have; a reset wherever something was missed.

    `unknown` says that the client has named a place that isn't known, so that it begins with a reset.
    """
    ring, clock = live.ring, asyncio.get_running_loop().time
    yield frames.opening(ring.id_of(place)) + (frames.reset(ring.id_of(place)) if unknown else b"")
    sent_at = clock()
    while not live.closed:
        found = ring.read(place, wanted, most_bytes=AT_ONCE_BYTES)
        place = found.place
        if found.gap:
            yield frames.reset(ring.id_of(place))
        elif found.frames:
            yield b"".join(found.frames)
        elif clock() - sent_at >= keep_alive:
            yield frames.keep_alive(ring.id_of(place))
        else:
            if place == ring.last:
                await live.changed(sent_at + keep_alive - clock())
            continue
        sent_at = clock()
