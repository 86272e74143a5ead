"""Processes in which Pillow looks at what is unusual, and pages are scanned (shared/sandbox.py)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec

from services.fetcher.html.pages import MAX_BYTES, Scan
from shared import sandbox
from shared.errors import NoSandbox, Overtaxed, PermanentError, Reason, TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.fetcher.body import Body
    from services.fetcher.frames import Most
    from services.fetcher.headers import Size

DEADLINE = 5.0
"""Seconds for one file; the slowest of Pillow's own collection takes 0.02."""

_LONGEST = 2 * MAX_BYTES


class Page(msgspec.Struct, array_like=True, frozen=True):
    """What is asked of a process that is to scan a page for up to `limit` images. Without one it is to say an image's size."""

    url: str
    content_type: str | None
    limit: int


class Verdict(msgspec.Struct, array_like=True):
    """A process's answer: a size, or what is on a page, or why there is neither."""

    width: int = 0
    height: int = 0
    reason: Reason | None = None
    detail: str = ""
    page: Scan | None = None


class Sandbox(sandbox.Sandbox):
    """Says how large images are, and what is on pages."""

    def __init__(self, most: Most, *, processes: int = sandbox.PROCESSES, deadline: float = DEADLINE, python: str = sys.executable) -> None:
        program = ("services.fetcher.sandboxed", str(most.pixels), str(most.frames))
        super().__init__(program, processes=processes, deadline=deadline, longest=_LONGEST, python=python)

    async def size_of(self, body: Body) -> Size:
        """Width and height in pixels. Raises PermanentError as open_with_pillow does; not_an_image if a process died of it twice.

        Raises TransientError (timeout) if no process can be started.
        """
        verdict = await self._verdict(body, None)
        return verdict.width, verdict.height

    async def scan(self, body: Body, page: Page) -> Scan:
        """What is on a page. Raises PermanentError (not_an_image) if it takes too long or too much, TransientError as `size_of` does."""
        verdict = await self._verdict(body, page)
        return verdict.page or Scan(images=[])

    async def _verdict(self, body: Body, page: Page | None) -> Verdict:
        async def parts() -> AsyncIterator[bytes]:
            for number in range(body.parts):
                yield body.part(number)

        try:
            verdict = await self.ask(msgspec.msgpack.encode(page), body.size, parts, _read)
        except NoSandbox as error:
            raise TransientError(Reason.TIMEOUT, "The image could not be examined just now.") from error
        except Overtaxed:
            done = "page can't be scanned for images" if page else "image can't be opened"
            raise PermanentError(Reason.NOT_AN_IMAGE, f"The {done} within the limits of time and memory.") from None
        if verdict.reason:
            raise PermanentError(verdict.reason, verdict.detail)
        return verdict


def _read(answer: bytes) -> Verdict:
    return msgspec.msgpack.decode(answer, type=Verdict)
