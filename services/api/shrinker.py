"""Makes images smaller, in processes that are expendable (shared/sandbox.py): what is decoded there was made by strangers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from shared.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

DEADLINE = 10.0
"""Seconds for one image; the largest that are taken need some three."""
_LONGEST = 8 * 1024**2
_MAGIC = b"RIFF", b"WEBP"


class Job(msgspec.Struct, array_like=True, frozen=True):
    """An image of a format, by Pillow's name for it, is to fit into a box."""

    format: str
    width: int
    height: int


class Shrunk(msgspec.Struct, array_like=True, frozen=True):
    """A WebP of some pixels, or the problem with the image, for people."""

    body: bytes = b""
    width: int = 0
    height: int = 0
    problem: str = ""


class Shrinker(Sandbox):
    """Takes images of up to so many pixels."""

    def __init__(self, *, pixels: int, processes: int | None = None, deadline: float = DEADLINE) -> None:
        super().__init__(
            ("services.api.shrinking", str(pixels)), processes=processes or max(1, (os.cpu_count() or 1) // 2), deadline=deadline, longest=_LONGEST
        )

    async def shrink(self, job: Job, size: int, content: Callable[[], AsyncIterator[bytes]]) -> Shrunk:
        """The thumbnail of an image of `size` bytes. Raises Overtaxed for one that takes too long or too much, NoSandbox, or what `content` raises."""
        return await self.ask(msgspec.msgpack.encode(job), size, content, _read)


def _read(answer: bytes) -> Shrunk:
    """An answer. Raises msgspec.ValidationError for one that isn't what it should be: hostile images were read over there."""
    shrunk = msgspec.msgpack.decode(answer, type=Shrunk)
    if not shrunk.problem and (shrunk.body[:4], shrunk.body[8:12]) != _MAGIC:
        raise msgspec.ValidationError("This is no WebP.")
    return shrunk
