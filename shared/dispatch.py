"""Hands new images on to the fetchers, in the background: no answer of the api and no step of a storer waits for it.

Nothing depends on it: what it drops, or loses in a crash, stays marked in MongoDB and is the relay's (services/api/relay.py).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

from shared import metrics
from shared.batching import Batcher
from shared.errors import BrokerUnavailable, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from shared.broker import Publisher
    from shared.catalog import Catalog
    from shared.events import DownloadRequested
    from shared.image import Image

log = logging.getLogger("bowerbird.dispatch")

IN_FLIGHT = 200
"""Publishes under way at once: enough to hide a confirm's way there and back."""
MAX_WAITING = 20_000
"""Some tens of MB. Beyond it a burst waits in MongoDB."""
PATIENCE = timedelta(seconds=4)
"""An image that has waited longer is the relay's, which begins to look at it a second later."""
BATCH = 1000
CLOSE_SECONDS = 2.0
WARNING_SECONDS = 5.0


class Dispatcher:
    """Publishes requests, and notes in the catalog which of them the broker has confirmed."""

    def __init__(self, publisher: Publisher, catalog: Catalog, *, in_flight: int = IN_FLIGHT, max_waiting: int = MAX_WAITING) -> None:
        self._publisher = publisher
        self._catalog = catalog
        self._in_flight = in_flight
        self._max_waiting = max_waiting
        self._waiting: deque[Image] = deque()
        self._warned_at = float("-inf")
        self._workers: set[asyncio.Task[None]] = set()
        self._confirmed: Batcher[DownloadRequested, None] = Batcher(metrics.batched("dispatched", self._mark), max_items=BATCH)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Finishes what is under way, for a moment."""
        self._waiting.clear()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.gather(*self._workers, return_exceptions=True)
        except TimeoutError:
            log.info("stopped while requests were unconfirmed: the relay will send them again", extra={"requests": len(self._workers)})

    def dispatch(self, image: Image) -> None:
        """Takes an image whose request is to be published; returns at once."""
        if not self._publisher.connected or len(self._waiting) >= self._max_waiting:
            return
        self._waiting.append(image)
        if len(self._workers) < self._in_flight:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    def dispatch_all(self, images: Iterable[Image]) -> None:
        """As `dispatch`, for several."""
        for image in images:
            self.dispatch(image)

    async def _work(self) -> None:
        while self._waiting:
            request = self._waiting.popleft().request()
            if datetime.now(UTC) - request.requested_at > PATIENCE:
                continue
            try:
                await self._publisher.publish(request)
                await self._confirmed.add(request)
            except (BrokerUnavailable, StoreUnavailable) as error:
                # Those behind it would fare no better.
                self._waiting.clear()
                if time.monotonic() - self._warned_at > WARNING_SECONDS:  # not once an image
                    self._warned_at = time.monotonic()
                    log.warning("requests are left to the relay", extra={"error": str(error)})

    async def publish_all(self, images: Iterable[Image]) -> bool:
        """Publishes the requests of some images and notes those that were confirmed; whether all were. Raises StoreUnavailable."""
        waiting = deque(image.request() for image in images)
        confirmed: list[DownloadRequested] = []

        async def work() -> None:
            while waiting:
                request = waiting.popleft()
                await self._publisher.publish(request)
                confirmed.append(request)

        outcomes = await asyncio.gather(*(work() for _ in range(min(self._in_flight, len(waiting)))), return_exceptions=True)
        if confirmed:
            await self._catalog.dispatched(confirmed)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, BrokerUnavailable):
                raise outcome
        return not any(outcomes)

    async def _mark(self, requests: list[DownloadRequested]) -> list[None]:
        await self._catalog.dispatched(requests)
        return [None] * len(requests)
