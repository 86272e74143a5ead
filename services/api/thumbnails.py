"""GET and HEAD /images/{id}/thumbnail: made when first asked for, and kept."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from litestar import Request, route
from litestar.response.base import ASGIResponse

from services.api import content
from services.api.browse import find
from services.api.http import conditions, parameters
from services.api.http.problems import NO_THUMBNAIL, UNAVAILABLE, Problem
from services.api.parts import parts
from services.api.shrinker import Job
from shared.batching import Batcher
from shared.blobs import CHUNK_BYTES
from shared.errors import NoSandbox, Overtaxed
from shared.status import now
from shared.thumbnails import CONTENT_TYPE

if TYPE_CHECKING:
    from types import TracebackType

    from bson import ObjectId

    from services.api.shrinker import Shrinker
    from shared.blobs import Blobs
    from shared.image import Image
    from shared.thumbnails import Thumbnail, Thumbnails

log = logging.getLogger("bowerbird.api")

WIDTHS = (160, 320, 640)
WIDTH = 320
HEIGHTS = 2
"""A thumbnail is at most so many times as high as it is wide: a strip a hundred times as high would be none."""
MOST_WAITING = 100
"""Thumbnails that are being made, or wait for it, in one process; a large photograph takes a tenth of a second."""
RETRY_SECONDS = 2
TRIED_AGAIN = timedelta(days=1)
"""An image that could not be decoded, perhaps for want of time, is tried again after it."""
LOOKED_UP_AT_ONCE = 200


class Maker:
    """Thumbnails, each made once, however many ask for it at the same time. Images may have up to `pixels`."""

    def __init__(self, thumbnails: Thumbnails, blobs: Blobs, shrinker: Shrinker, *, pixels: int, most_waiting: int = MOST_WAITING) -> None:
        self._thumbnails = thumbnails
        self._blobs = blobs
        self._shrinker = shrinker
        self._pixels = pixels
        self._most_waiting = most_waiting
        self._known: Batcher[tuple[ObjectId, int], Thumbnail | None] = Batcher(thumbnails.get_many, max_items=LOOKED_UP_AT_ONCE, writers=2)
        self._making: dict[tuple[ObjectId, int], asyncio.Task[bytes]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def get(self, image: Image, width: int) -> bytes:
        """The thumbnail of a stored image, as WebP. Raises Problem."""
        pixels = (image.width or 0) * (image.height or 0)
        if pixels > self._pixels:
            raise Problem(NO_THUMBNAIL, f"The image has {pixels:,} pixels, more than {self._pixels:,}.")
        key = image.file, width
        if key not in self._making:
            known = await self._known.add(key)
            if known and known.problem and now() - known.at < TRIED_AGAIN:
                raise Problem(NO_THUMBNAIL, known.problem)
            if known and known.file and (body := await self._read(known)):
                return body
        return await self._made(image, key)

    async def _read(self, known: Thumbnail) -> bytes | None:
        """None should housekeeping have taken it just now."""
        if known.size <= CHUNK_BYTES:
            [body] = await self._blobs.read_small([known.file])
        else:
            body = b"".join([part async for part in self._blobs.read(known.file)])
        return body if body and len(body) == known.size else None

    async def _made(self, image: Image, key: tuple[ObjectId, int]) -> bytes:
        making = self._making.get(key)
        if making is None:
            if len(self._making) >= self._most_waiting:
                raise _later("Too many thumbnails are being made already; try again.")
            making = self._making[key] = asyncio.create_task(self._make(image, key))
            making.add_done_callback(lambda task: self._done(key, task))
        # One who leaves takes nothing from the others.
        return await asyncio.shield(making)

    async def _make(self, image: Image, key: tuple[ObjectId, int]) -> bytes:
        file, width = key
        try:
            job = Job((image.format or "").upper(), width, HEIGHTS * width)
            shrunk = await self._shrinker.shrink(job, image.size or 0, lambda: self._blobs.read(file))
            problem = shrunk.problem
        except NoSandbox:
            raise _later("No thumbnail can be made at the moment; try again.") from None
        except Overtaxed:
            problem = "The image can't be decoded within the limits of time and memory."
        if problem:
            log.info("no thumbnail", extra={"image": image.id, "problem": problem})
            await self._thumbnails.refuse(file, width, problem)
            raise Problem(NO_THUMBNAIL, problem)
        await self._thumbnails.keep(file, width, shrunk.body)
        return shrunk.body

    def _done(self, key: tuple[ObjectId, int], task: asyncio.Task[bytes]) -> None:
        del self._making[key]
        if not task.cancelled():
            task.exception()  # whoever waits for it has it; there may be nobody any more


@route("/images/{image:str}/thumbnail", http_method=["GET", "HEAD"])
async def get_thumbnail(request: Request[Any, Any, Any]) -> ASGIResponse:
    """A small copy of a stored image."""
    here = parts(request)
    width = _width(parameters.read(request.scope["query_string"], ("w",)))
    image = await find(here, request.path_params["image"])
    fetched = content.check_stored(image)
    etag = f'"{image.sha256}.{width}"'
    headers = {"ETag": etag, "Last-Modified": conditions.http_date(fetched), "Cache-Control": "no-cache", **content.SAFE}
    if content.is_current(request, etag, fetched):
        return ASGIResponse(status_code=304, headers=headers)
    body = await here.maker.get(image, width)
    if request.method == "HEAD":
        headers |= {"Content-Type": CONTENT_TYPE, "Content-Length": str(len(body))}
        return ASGIResponse(headers=headers, is_head_response=True)
    return ASGIResponse(body=body, headers=headers, media_type=CONTENT_TYPE)


def _width(given: dict[str, str]) -> int:
    text = given.get("w", str(WIDTH))
    if text not in {str(width) for width in WIDTHS}:
        parameters.refuse("w", f"w must be one of {', '.join(map(str, WIDTHS))}, not {text[:64]!r}.")
    return int(text)


def _later(detail: str) -> Problem:
    return Problem(UNAVAILABLE, detail, headers={"Retry-After": str(RETRY_SECONDS)})
