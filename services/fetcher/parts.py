"""Large images on their way to the storers: in parts, each a message and a GridFS chunk, ahead of the event that closes them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bson import ObjectId

from shared.events import ImagePart

if TYPE_CHECKING:
    from services.fetcher.body import Body
    from shared.broker import Publisher
    from shared.events import DownloadRequested

IN_FLIGHT = 8
"""Parts that one fetcher has read from disk and RabbitMQ hasn't confirmed yet, of all images together: what they take of memory. More gain no speed."""


class Parts:
    """Publishes them."""

    def __init__(self, publisher: Publisher, *, in_flight: int = IN_FLIGHT) -> None:
        self._publisher = publisher
        self._free = asyncio.Semaphore(in_flight)

    async def publish(self, request: DownloadRequested, body: Body) -> str:
        """Returns the name of a new file, in hex, once all of its parts are confirmed, for which it waits as long as it takes.

        Whoever dies in between leaves chunks of a file that nobody will ever name; housekeeping removes them. Raises TransientError
        when the body can't be read any more.
        """
        file = str(ObjectId())
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(body.parts):
                    group.create_task(self._publish(request, file, number, body))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return file

    async def _publish(self, request: DownloadRequested, file: str, number: int, body: Body) -> None:
        async with self._free:
            content = body.part(number)
            part = ImagePart(image=request.image, revision=request.revision, attempt=request.attempt, file=file, number=number, body=content)
            await self._publisher.publish_surely(part)
