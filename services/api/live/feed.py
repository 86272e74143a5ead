"""What happens to images, as it happens: heard from RabbitMQ while anybody is interested, and kept for a while.

Each stream (events.py) reads from the same ring, from a place of its own: no client, however slow, makes this process hold anything for
it, and one that falls behind further than the ring reaches is told to look anew (`reset`). So is everybody when something was missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
import uuid
from typing import TYPE_CHECKING

from services.api.live.frames import frame, told
from services.api.live.ring import Entry, Ring
from services.api.live.tally import Tally
from shared import announcements, topology
from shared.absence import RABBITMQ
from shared.broker import AWAY, RECONNECT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.events import Event

log = logging.getLogger("bowerbird.api")

LINGER_SECONDS = 300.0
"""How long it listens on when nobody is interested any more: long enough for a client that comes back."""
LOOK_SECONDS = 2.0
TOGETHER_SECONDS = 0.03
"""What happens within it is sent at once: under load, one packet for many events."""


class Live:
    """Listens while there is interest, in a task of its own (`run`). `url` is RabbitMQ's."""

    def __init__(
        self, url: str, *, ring: Ring | None = None, linger: float = LINGER_SECONDS, messages: int = topology.ANNOUNCED_MESSAGES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.ring = ring or Ring()
        self.tally = Tally()
        self.closed = False
        self._interested = 0
        self._url = url
        self._messages = messages
        self._linger = linger
        self._clock = clock
        self._interest, self._heard_until = asyncio.Event(), float("-inf")
        self._listening = asyncio.Event()
        self._news = asyncio.Event()
        self._waking: asyncio.TimerHandle | None = None

    @property
    def listening(self) -> bool:
        """Whether it hears what happens now."""
        return self._listening.is_set()

    def want(self) -> None:
        """Somebody is interested."""
        self._heard_until = self._clock() + self._linger
        self._interest.set()

    @contextlib.contextmanager
    def interest(self) -> Iterator[None]:
        """Somebody is interested for as long as the block takes."""
        self._interested += 1
        self.want()
        try:
            yield
        finally:
            self._interested -= 1
            self.want()

    async def ready(self, seconds: float) -> None:
        """As `want`; returns when it listens, or after some seconds all the same: then a gap will tell."""
        self.want()
        try:
            async with asyncio.timeout(seconds):
                await self._listening.wait()
        except TimeoutError:
            log.debug("a client waits for events, but RabbitMQ isn't there")

    async def changed(self, seconds: float) -> None:
        """Returns when something has happened, or after some seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    def close(self) -> None:
        """Ends all streams, at once and for good."""
        self.closed = True
        self._wake()

    async def run(self) -> None:
        """Listens, whenever there is interest, until cancelled."""
        while True:
            await self._interest.wait()
            try:
                await self._listen()
            except AWAY as error:
                RABBITMQ.noted(type(error).__name__)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self) -> None:
        own = f"api.announcements.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        async with announcements.listening(self._url, own, hear=self._hear, missed=self._miss, messages=self._messages) as lost:
            # From here on, and nothing of before.
            self._miss()
            self.tally.begin()
            self._listening.set()
            try:
                while not lost.is_set() and self._is_wanted():
                    try:
                        async with asyncio.timeout(LOOK_SECONDS):
                            await lost.wait()
                    except TimeoutError:
                        continue
            finally:
                self._listening.clear()
                self.tally.end()

    def _is_wanted(self) -> bool:
        if self._interested:
            self.want()
        elif self._clock() > self._heard_until:
            self._interest.clear()
        return self._interest.is_set()

    def _hear(self, event: Event) -> None:
        happened = told(event)
        if happened is None:
            return
        self.tally.count(happened.status)
        # A page's own events are among those of the page.
        self.ring.add(Entry(frame(happened, self.ring.id_of(self.ring.last + 1)), frozenset((happened.id, *happened.owners))))
        self._news_soon()

    def _miss(self) -> None:
        self.ring.miss()
        self._news_soon()

    def _news_soon(self) -> None:
        if self._waking is None:
            self._waking = asyncio.get_running_loop().call_later(TOGETHER_SECONDS, self._wake)

    def _wake(self) -> None:
        self._waking = None
        news, self._news = self._news, asyncio.Event()
        news.set()
