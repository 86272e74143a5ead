"""Whether a body is an image, which, and how large: by its bytes, whatever the origin says of them.

Three steps, each of which settles what it can: the first bytes (formats.py); for plain JPEG, PNG, GIF and WebP the
header (headers.py), which is what nearly every image takes, in microseconds; and for all else Pillow, in a process of
its own (sandbox.py, opening.py). Pillow never opens a stranger's file in the fetcher's own process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from services.fetcher import frames, headers
from services.fetcher.formats import CONTENT_TYPES, SNIFFED, Recognised, looks_like_html, sniff
from services.fetcher.frames import Most
from services.fetcher.opening import open_with_pillow
from services.fetcher.sandbox import Sandbox

if TYPE_CHECKING:
    from types import TracebackType

    from services.fetcher.body import Body, View
    from services.fetcher.headers import Size
    from shared.settings import Settings

__all__ = ["Recognised", "Recogniser", "looks_like_html", "recognise"]


def recognise(body: bytes, most: Most) -> Recognised:
    """Recognises an image, Pillow's part included, in this process: for tests and tools, not for strangers' files.

    Raises PermanentError: not_an_image, unsupported_format, too_many_pixels, truncated or too_large (a PNG's text).
    """
    name = sniff(body)
    return _result(name, _by_header(name, body, most) or open_with_pillow(name, body, most), most)


class Recogniser:
    """Recognises images in bounded time and memory, without holding up the event loop."""

    def __init__(self, settings: Settings) -> None:
        self._most = Most.of(settings)
        self.sandbox = Sandbox(self._most)

    async def __aenter__(self) -> Self:
        await self.sandbox.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.sandbox.__aexit__(kind, error, trace)

    async def recognise(self, body: Body) -> Recognised:
        """As `recognise` above, and not_an_image too for a file that Pillow can't open in time or memory, or TransientError."""
        name = sniff(body.first(SNIFFED))
        return _result(name, _by_header(name, body.view, self._most) or await self.sandbox.size_of(body), self._most)


def _by_header(name: str, body: bytes | View, most: Most) -> Size | None:
    size = headers.size_of(name, body)
    return size if size and frames.check(name, body, most) else None


def _result(name: str, size: Size, most: Most) -> Recognised:
    most.check_size(size)
    width, height = size
    return Recognised(name, CONTENT_TYPES[name], width, height)
