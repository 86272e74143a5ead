"""The relay: publishes what was recorded but not dispatched, after an outage of the broker or a crash in between.

Any number of api processes run one; a lease (shared/leases.py) lets one at a time work. Should two do so after all, a
request is published twice, and the second one changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shared import metrics
from shared.absence import MONGODB
from shared.dispatch import RELAYED_AFTER
from shared.errors import StoreUnavailable

if TYPE_CHECKING:
    from datetime import timedelta

    from shared.broker import Publisher
    from shared.catalog import Catalog
    from shared.dispatch import Dispatcher
    from shared.leases import Lease

log = logging.getLogger("bowerbird.api")

PAUSE_SECONDS = 1.0
PAGE = 1000


class Relay:
    """Looks every second; `run` never returns."""

    def __init__(self, catalog: Catalog, publisher: Publisher, dispatcher: Dispatcher, lease: Lease, *, patience: timedelta = RELAYED_AFTER) -> None:
        self._catalog = catalog
        self._publisher = publisher
        self._dispatcher = dispatcher
        self._lease = lease
        self._patience = patience

    async def run(self) -> None:
        """Relays until cancelled, and gives the lease back then."""
        try:
            while True:
                try:
                    await self.round()
                    MONGODB.over()
                except StoreUnavailable as error:
                    MONGODB.noted(error)
                except Exception:
                    log.exception("the relay failed, and will try again")
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            await self._lease.release()

    async def round(self) -> int:
        """Publishes all that has waited long enough, as long as the broker takes it and the lease is ours; how many that were."""
        relayed = 0
        while self._publisher.connected and await self._lease.hold():
            before = datetime.now(UTC) - self._patience
            images = await self._catalog.undispatched(before=before, limit=PAGE)
            if not images or not await self._dispatcher.publish_all(images):
                break
            relayed += len(images)
            metrics.RELAYED.inc(len(images))
            log.info("relayed requests that had stayed behind", extra={"requests": len(images)})
        return relayed
