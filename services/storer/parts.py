"""Images that come in parts: each part is a chunk, written by whichever storer gets it, in any order; the image's file is closed when all are there.

image-fetched may overtake parts of its image, which another storer may have in hand. So it waits for them: for a moment in a storer's hand,
then, again and again, in a delay queue. Its own count of that bounds it, and neither the time nor a storer's memory: while MongoDB, RabbitMQ or
all storers are away, nobody looks for the parts, and that isn't held against them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bson import ObjectId
from msgspec.structs import replace

from shared import metrics, topology
from shared.batching import Batcher
from shared.blobs import Part, Parted
from shared.broker import Publication
from shared.errors import Unusable
from shared.events import PART_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.blobs import Blobs
    from shared.events import ImageFetched, ImagePart

BATCH_ITEMS = 2
"""Parts, of 1 MiB, in one write. Sixteen images of 60 MiB took a storer 100 MiB with 2 of them, 150 with 4 and 220 with 8, and none was faster."""
WRITERS = 2

LOOK_EVERY = 0.05
LOOK_FOR = 1.0
"""Seconds that image-fetched waits in a storer's hand: other storers need no longer than that for parts that they have."""
LOOK_FOR_AT_LAST = 5.0
"""The same the last time, and when it was replayed from the dead letters, perhaps right after a part of it."""
MOST_LOOKING = 32
"""So many wait in a storer's hand at once: they must leave room there for the images that wait for nothing."""
MOST_WAITS = 150
"""A quarter of an hour, in the delay queue."""

MOST_PARTS = 2**31 - 1
"""GridFS numbers the chunks of a file with 32 bits."""


class Parts:
    """Writes parts, and closes files. No file may have more than `most` parts."""

    def __init__(self, blobs: Blobs, *, most: int = MOST_PARTS) -> None:
        self._blobs = blobs
        self._most = most
        self._written: Batcher[Part, None] = Batcher(metrics.batched("parts", self._write), max_items=BATCH_ITEMS, writers=WRITERS)
        self._looking = asyncio.Semaphore(MOST_LOOKING)

    async def write(self, event: ImagePart) -> None:
        """A chunk, durable when this returns; repeating it changes nothing. Raises Unusable when its number is too high."""
        if event.number >= self._most:
            raise Unusable(f"No image has a part number {event.number:,}: the largest that are allowed have {self._most:,} parts.")
        await self._written.add(Part(ObjectId(event.file), event.number, event.body))

    async def file_of(self, event: ImageFetched) -> ObjectId | None:
        """The file that holds the image's bytes, be it that of its parts or another; None while parts are missing.

        Raises Unusable when the event contradicts itself or its parts.
        """
        parted = self._parted(event)
        if await self._missing(parted) and not self._looking.locked():
            async with self._looking:
                await self._look(parted, LOOK_FOR if event.waits < MOST_WAITS else LOOK_FOR_AT_LAST)
        return await self._blobs.close(parted)

    async def later(self, event: ImageFetched) -> Publication:
        """Brings the event back in a while. Raises Unusable when that has been done often enough."""
        if event.waits < MOST_WAITS:
            return Publication(replace(event, waits=event.waits + 1), topology.PARTS_DELAY)
        missing = await self._missing(self._parted(event))
        raise Unusable(f"{missing} of the {event.parts} parts of the image, file {event.file}, never came; they may be among the dead letters.")

    async def discard(self, event: ImageFetched) -> None:
        """Deletes the parts, when another file holds the same bytes."""
        await self._blobs.discard([self._parted(event).file])

    async def _look(self, parted: Parted, seconds: float) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        while await self._missing(parted) and clock() < deadline:  # noqa: ASYNC110  (others write them, too)
            await asyncio.sleep(LOOK_EVERY)

    async def _missing(self, parted: Parted) -> int:
        return max(0, parted.parts - await self._blobs.count_parts(parted.file))

    def _parted(self, event: ImageFetched) -> Parted:
        if event.file is None or event.body or event.parts != -(-event.size // PART_BYTES):
            whole = f"{event.parts:,} parts, {event.size:,} bytes, file {event.file}, a body of {len(event.body):,} bytes"
            raise Unusable(f"image-fetched contradicts itself: {whole}.")
        if event.parts > self._most:
            raise Unusable(f"The image has {event.parts:,} parts; the largest that are allowed have {self._most:,}.")
        return Parted(ObjectId(event.file), event.sha256, event.parts, event.size, event.content_type)

    async def _write(self, parts: list[Part]) -> Sequence[None]:
        await self._blobs.store_parts(parts)
        return [None] * len(parts)
