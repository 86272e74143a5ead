"""GET and HEAD /images/{id}/content: the original bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import Request, route
from litestar.response.base import ASGIResponse
from litestar.response.streaming import ASGIStreamingResponse

from services.api.browse import find
from services.api.http import conditions, ranges
from services.api.http.filenames import content_disposition
from services.api.http.problems import NOT_STORED, RANGE_NOT_SATISFIABLE, Problem
from services.api.parts import parts
from shared.blobs import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from services.api.parts import Parts
    from shared.image import Image, Version

# The bytes are other people's: a browser is to show them as the image that was recognised, or not at all (and nosniff, listening.py).
SAFE = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-site",
}


@route("/images/{image:str}/content", http_method=["GET", "HEAD"])
async def get_content(request: Request[Any, Any, Any]) -> ASGIResponse:
    """The original bytes of a stored image."""
    image = await find(parts(request), request.path_params["image"])
    check_stored(image)
    return await serve(request, image, image)


def check_stored(image: Image) -> datetime:
    """When the copy that is held was fetched. Raises Problem when there is none."""
    if image.file is None:
        detail = f"The image is {image.status}: there are no bytes to serve."
        raise Problem(NOT_STORED, detail, status_of_image=image.status, error=image.error)
    if image.fetched_at is None:
        raise RuntimeError(f"The image {image.id} has a file without its facts.")
    return image.fetched_at


def is_current(request: Request[Any, Any, Any], etag: str, modified: datetime) -> bool:
    """Whether the client has what it asks for already."""
    return conditions.not_modified(
        etag, modified, if_none_match=_header(request, b"if-none-match"), if_modified_since=_header(request, b"if-modified-since")
    )


async def serve(request: Request[Any, Any, Any], image: Image, copy: Image | Version) -> ASGIResponse:
    """The bytes of one copy of an image, or of what is asked for of them."""
    if copy.size is None or copy.fetched_at is None:
        raise RuntimeError(f"The image {image.id} has a file without its facts.")
    etag, fetched = f'"{copy.sha256}"', copy.fetched_at
    # A PUT may give the same address other bytes: a cache has to ask, and is told 304 nearly always.
    headers = {"ETag": etag, "Last-Modified": conditions.http_date(fetched), "Cache-Control": "no-cache", **SAFE}
    if is_current(request, etag, fetched):
        return ASGIResponse(status_code=304, headers=headers)
    headers |= {"Accept-Ranges": "bytes", "Content-Disposition": content_disposition(image.url, image.id, copy.format or "bin")}
    if request.method == "HEAD":
        headers |= {"Content-Type": copy.content_type or "", "Content-Length": str(copy.size)}
        return ASGIResponse(headers=headers, is_head_response=True)
    selected = _selected(request, etag, fetched, copy.size)
    status = 200
    if selected is None:
        selected = range(copy.size)
    else:
        status = 206
        headers["Content-Range"] = f"bytes {selected.start}-{selected.stop - 1}/{copy.size}"
    return await _body(parts(request), copy, copy.size, selected, status, headers)


def _selected(request: Request[Any, Any, Any], etag: str, fetched: datetime, size: int) -> range | None:
    header = _header(request, b"range")
    if header is None or not conditions.range_applies(etag, fetched, _header(request, b"if-range")):
        return None
    try:
        return ranges.parse(header, size)
    except ranges.Unsatisfiable as error:
        detail = f"The content is {size} bytes long."
        raise Problem(RANGE_NOT_SATISFIABLE, detail, headers={"Content-Range": str(error)}) from None


async def _body(here: Parts, copy: Image | Version, size: int, selected: range, status: int, headers: dict[str, str]) -> ASGIResponse:
    media_type = copy.content_type or "application/octet-stream"
    if size <= CHUNK_BYTES:
        whole = await here.small_files.add((copy.file, size))
        if whole is None or len(whole) != size:
            raise RuntimeError(f"The bytes of file {copy.file} are not there.")
        body = whole if len(selected) == len(whole) else whole[selected.start : selected.stop]
        return ASGIResponse(body=body, status_code=status, headers=headers, media_type=media_type)
    headers["Content-Length"] = str(len(selected))
    chunks = here.blobs.read(copy.file, selected.start, selected.stop)
    # Before the answer begins: when MongoDB is away, that can still be said with a 503, and later only with a broken connection.
    first = await anext(chunks, None)
    if first is None:
        raise RuntimeError(f"The bytes of file {copy.file} are not there.")
    return ASGIStreamingResponse(iterator=_all(first, chunks), status_code=status, headers=headers, media_type=media_type)


async def _all(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in others:
        yield chunk


def _header(request: Request[Any, Any, Any], name: bytes) -> str | None:
    # Litestar's own headers, a dictionary made for each request, would take a twentieth of a 304's time.
    values = [value.decode("latin-1") for key, value in request.scope["headers"] if key == name]
    return ", ".join(values) if values else None
