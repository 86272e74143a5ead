"""Hands new images on to the fetchers, in the background: no answer of the api and no step of a storer waits for it.

Nothing depends on it: what it drops, or loses in a crash, stays marked in MongoDB and is the relay's (services/api/relay.py).
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

from shared.errors import StoreUnavailable
from shared.minutes import Minutes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from shared.broker import Publisher
    from shared.catalog import Catalog
    from shared.errors import BrokerUnavailable
    from shared.events import DownloadRequested
    from shared.image import Image

log = logging.getLogger("bowerbird.dispatch")

IN_FLIGHT = 4
"""Publishes under way at once: enough to hide a confirm's way there and back."""
AT_ONCE = 100
"""Requests in each: what has come while the former were written."""
MAX_WAITING = 20_000
"""Some tens of MB. Beyond it a burst waits in MongoDB."""
RELAYED_AFTER = timedelta(seconds=5)
"""An image that is unmarked for longer is the relay's. Should its request be sent twice, the second changes nothing."""
PATIENCE = RELAYED_AFTER - timedelta(seconds=2)
"""No publish is begun after that: it has yet to be confirmed, and marked."""
MARKED_AFTER = timedelta(seconds=2)
"""What has come to an outcome by then needs no mark, which costs MongoDB more than the image's new document did."""
MARK_SECONDS = 0.5
BATCH = 1000
CLOSE_SECONDS = 2.0
WARNING_SECONDS = 60.0


class Dispatcher:
    """Publishes requests, and notes in the catalog which of them the broker has confirmed."""

    def __init__(
        self, publisher: Publisher, catalog: Catalog,
        *, at_once: int = AT_ONCE, max_waiting: int = MAX_WAITING, minutes: Minutes | None = None,
    ) -> None:  # fmt: skip
        self._minutes = minutes or Minutes()
        self._publisher = publisher
        self._catalog = catalog
        self._at_once = at_once
        self._max_waiting = max_waiting
        self._waiting: deque[Image] = deque()
        self._warned_at = float("-inf")
        self._workers: set[asyncio.Task[None]] = set()
        self._confirmed: deque[DownloadRequested] = deque()
        self._marking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Finishes what is under way, for a moment."""
        self._waiting.clear()
        if self._marking:
            self._marking.cancel()
            await asyncio.gather(self._marking, return_exceptions=True)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.gather(*self._workers, return_exceptions=True)
                await self._mark(list(self._confirmed))
        except (TimeoutError, StoreUnavailable):
            left = len(self._workers) + len(self._confirmed)
            log.info("stopped while requests were unconfirmed: the relay will send them again", extra={"requests": left})

    def dispatch(self, image: Image) -> None:
        """Takes an image whose request is to be published; returns at once."""
        if not self._publisher.connected or len(self._waiting) >= self._max_waiting:
            return
        self._waiting.append(image)
        if len(self._workers) < IN_FLIGHT:
            # In no request's context: it works for whoever comes next, too.
            worker = asyncio.create_task(self._work(), context=contextvars.Context())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    def dispatch_all(self, images: Iterable[Image]) -> None:
        """As `dispatch`, for several."""
        for image in images:
            self.dispatch(image)

    async def _work(self) -> None:
        while self._waiting:
            images = [self._waiting.popleft() for _ in range(min(self._at_once, len(self._waiting)))]
            oldest = datetime.now(UTC) - PATIENCE
            confirmed, error = await self._publish([image for image in images if image.requested_at >= oldest])
            if error:
                # Those behind it would fare no better.
                self._waiting.clear()
                self._warn(error)
            if confirmed:
                self._confirmed += confirmed
                self._marking = self._marking or asyncio.create_task(self._mark_from_time_to_time(), context=contextvars.Context())

    async def _publish(self, images: Sequence[Image]) -> tuple[list[DownloadRequested], BrokerUnavailable | None]:
        """The requests that were confirmed, and the first refusal."""
        if not images:
            return [], None
        requests = [image.request() for image in images]
        outcomes = await self._publisher.publish_all(requests, [image.trace for image in images])
        confirmed = [request for request, outcome in zip(requests, outcomes, strict=True) if outcome is None]
        return confirmed, next(filter(None, outcomes), None)

    async def _mark_from_time_to_time(self) -> None:
        while True:
            await asyncio.sleep(MARK_SECONDS)
            before = datetime.now(UTC) - MARKED_AFTER
            due = []
            while self._confirmed and self._confirmed[0].requested_at <= before:
                due.append(self._confirmed.popleft())
            try:
                await self._mark(due)
            except StoreUnavailable as error:
                self._warn(error)
            except asyncio.CancelledError:
                self._confirmed.extendleft(reversed(due))
                raise

    async def _mark(self, requests: list[DownloadRequested]) -> None:
        for first in range(0, len(requests), BATCH):
            await self._note(requests[first : first + BATCH])

    def _warn(self, error: Exception) -> None:
        if time.monotonic() - self._warned_at > WARNING_SECONDS:  # not once an image
            self._warned_at = time.monotonic()
            log.warning("requests are left to the relay", extra={"error": str(error)})

    async def publish_all(self, images: Sequence[Image]) -> bool:
        """Publishes the requests of some images and notes those that were confirmed; whether all were. Raises StoreUnavailable."""
        for first in range(0, len(images), self._at_once):
            confirmed, error = await self._publish(images[first : first + self._at_once])
            if confirmed:
                await self._note(confirmed)
            if error:
                return False
        return True

    async def _note(self, requests: list[DownloadRequested]) -> None:
        await self._catalog.dispatched(requests)
        self._minutes.count("dispatched", len(requests))
