"""Which batches are complete: looked for, since no image knows that it is the last of its batch."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from shared import tracing
from shared.absence import MONGODB
from shared.errors import StoreUnavailable
from shared.status import now

if TYPE_CHECKING:
    from services.storer.callbacks import Callbacks
    from shared.batches import Batch, Batches
    from shared.broker import Publisher
    from shared.catalog import Catalog
    from shared.leases import Lease

log = logging.getLogger("bowerbird.storer")

EVERY_SECONDS = 1.0
PAGE = 500


class Completion:
    """One look at a time, by whichever storer holds the lease. Should two do so after all, the second one changes nothing."""

    def __init__(self, batches: Batches, images: Catalog, callbacks: Callbacks, publisher: Publisher) -> None:
        self._batches = batches
        self._images = images
        self._callbacks = callbacks
        self._publisher = publisher

    async def run(self, lease: Lease) -> None:
        """Looks every second until cancelled, and gives the lease back then."""
        try:
            while True:
                try:
                    if await lease.hold():
                        await self.round()
                    MONGODB.over()
                except StoreUnavailable as error:
                    MONGODB.noted(error)
                except Exception:
                    log.exception("looking for complete batches failed, and will be tried again")
                await asyncio.sleep(EVERY_SECONDS)
        finally:
            await lease.release()

    async def round(self) -> int:
        """Completes each batch none of whose images is on its way; how many those were."""
        completed, after = 0, ""
        while batches := await self._batches.open(limit=PAGE, after=after):
            for batch in batches:
                if not await self._images.waits(batch.id):
                    await self._complete(batch)
                    completed += 1
            after = batches[-1].id
        return completed

    async def _complete(self, batch: Batch) -> None:
        at = now()
        if batch.callback:
            counts = await self._images.counts(batch.id)
            # Before it is noted: a crash in between repeats it, and the delivery has the same id.
            for publication in await self._callbacks.for_batch(batch.id, counts, batch.total, batch.callback, at):
                with tracing.caused_by(batch.trace):
                    await self._publisher.publish_surely(*publication)
        await self._batches.complete(batch.id, at)
        log.info("a batch is complete", extra={"batch": batch.id, "total": batch.total})
