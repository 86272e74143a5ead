"""Whether a body is an image, which, and how large: by its bytes, whatever the origin says of them.

Three steps, each of which settles what it can: the first bytes (formats.py); for plain JPEG, PNG, GIF and WebP the
header (headers.py), which is what nearly every image takes, in microseconds; and for all else Pillow, in a process of
its own (sandbox.py, opening.py). Pillow never opens a stranger's file in the fetcher's own process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from services.fetcher import headers
from services.fetcher.formats import CONTENT_TYPES, Recognised, looks_like_html, sniff
from services.fetcher.opening import open_with_pillow
from services.fetcher.sandbox import Sandbox
from shared.errors import PermanentError, Reason

if TYPE_CHECKING:
    from types import TracebackType

    from services.fetcher.headers import Size
    from shared.settings import Settings

__all__ = ["Recognised", "Recogniser", "looks_like_html", "recognise"]


def recognise(body: bytes, *, max_pixels: int) -> Recognised:
    """Recognises an image, Pillow's part included, in this process: for tests and tools, not for strangers' files.

    Raises PermanentError: not_an_image, unsupported_format, too_many_pixels, truncated or too_large (a PNG's text).
    """
    name = sniff(body)
    return _result(name, headers.size_of(name, body) or open_with_pillow(name, body, max_pixels=max_pixels), max_pixels)


class Recogniser:
    """Recognises images in bounded time and memory, without holding up the event loop."""

    def __init__(self, settings: Settings) -> None:
        self._max_pixels = settings.max_pixels
        self._sandbox = Sandbox(max_pixels=settings.max_pixels)

    async def __aenter__(self) -> Self:
        await self._sandbox.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._sandbox.__aexit__(kind, error, trace)

    async def recognise(self, body: bytes) -> Recognised:
        """As `recognise` above, and not_an_image too for a file that Pillow can't open in time or memory, or TransientError."""
        name = sniff(body)
        return _result(name, headers.size_of(name, body) or await self._sandbox.size_of(body), self._max_pixels)


def _result(name: str, size: Size, max_pixels: int) -> Recognised:
    width, height = size
    if width * height > max_pixels:
        raise PermanentError(Reason.TOO_MANY_PIXELS, f"The image has {width:,} by {height:,} pixels, more than {max_pixels:,}.")
    return Recognised(name, CONTENT_TYPES[name], width, height)
