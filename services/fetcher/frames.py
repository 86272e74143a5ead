"""How many frames or pages an image has, and how large each may become: by walking its blocks, without decoding any.

In the fetcher's own process for no more than a number of steps, far more than stills need; what takes longer is counted by the
sandbox, which has time. AVIF's frames are counted by Pillow, as it opens the file (opening.py).
"""

# ruff: noqa: PLR2004  (a file format is numbers; the name of each stands beside it)

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

import msgspec

from shared.errors import PermanentError, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.fetcher.body import View
    from services.fetcher.headers import Size
    from shared.settings import Settings

STEPS = 4_000
"""A few milliseconds at most, and more than most animations need: a thousand frames."""

WITHOUT_END = sys.maxsize

_RUN = 256
_ENTRIES = 32
"""Of a TIFF's directory: entries are in the order of their tags, and those of its size are among the first."""


class Most(msgspec.Struct, frozen=True):
    """The most that an image may have, in sum: pixels (of any one frame, all of whose canvas counts), and frames or pages."""

    pixels: int
    frames: int

    @classmethod
    def of(cls, settings: Settings) -> Most:
        """As it is set."""
        return cls(settings.max_pixels, settings.max_frames)

    def check_size(self, size: Size) -> None:
        """Raises PermanentError (too_many_pixels) for a frame that is too large."""
        width, height = size
        if width * height > self.pixels:
            raise PermanentError(Reason.TOO_MANY_PIXELS, f"The image has {width:,} by {height:,} pixels, more than {self.pixels:,}.")

    def check_frames(self, frames: int) -> None:
        """Raises PermanentError (too_many_pixels) for too many of them."""
        if frames > self.frames:
            raise PermanentError(Reason.TOO_MANY_PIXELS, f"The image has more than {self.frames:,} frames or pages.")


def check(name: str, body: bytes | View, most: Most, *, steps: int = STEPS) -> bool:
    """Whether all frames were counted: False when it would take more steps. Raises PermanentError (too_many_pixels).

    A file that breaks off or goes wrong after its first frame has the frames up to there, as for those that show it.
    """
    walk = _WALKS.get(name)
    try:
        for frames, size in enumerate(walk(body, steps) if walk else (), start=1):
            most.check_size(size)
            most.check_frames(frames)
    except _OutOfSteps:
        return False
    except IndexError:  # ends in the middle
        pass
    return True


class _OutOfSteps(Exception):
    pass


def _big(body: bytes | View, at: int, length: int) -> int:
    return int.from_bytes(body[at : at + length], "big")


def _little(body: bytes | View, at: int, length: int) -> int:
    return int.from_bytes(body[at : at + length], "little")


def _gif(body: bytes | View, steps: int) -> Iterator[Size]:
    """GIF89a: blocks up to the trailer; the canvas is widened as Pillow does it where a frame reaches beyond."""
    if not isinstance(body, bytes):  # every block would have to be read
        raise _OutOfSteps
    width, height, flags = _little(body, 6, 2), _little(body, 8, 2), body[10]
    at = 13 + _table(flags)
    for _ in range(steps):
        if body[at] == 0x2C:  # an image
            left, top, across, down = (_little(body, at + i, 2) for i in (1, 3, 5, 7))
            yield max(width, left + across), max(height, top + down)
            at += 11 + _table(body[at + 9])
        elif body[at] == 0x21:  # an extension
            at += 2
        else:
            return
        while length := body[at]:
            if length == 0xFF:  # nearly always there are many such in a row, over which one step leads
                run = body[at : at + _RUN * 256 : 256]
                at += 256 * (len(run) - len(run.lstrip(b"\xff")))
            else:
                at += 1 + length
            steps -= 1
            if steps <= 0:
                raise _OutOfSteps
        at += 1
    raise _OutOfSteps


def _table(flags: int) -> int:
    """Bytes of a table of colours (GIF89a, sections 18 and 20)."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _png(body: bytes | View, steps: int) -> Iterator[Size]:
    """W3C PNG, third edition, section 11.3.4: acTL before the data, and then an fcTL for each frame."""
    at, animated = 8, False
    for _ in range(steps):
        kind = body[at + 4 : at + 8]
        if kind == b"acTL":
            animated = True
        elif kind in {b"", b"IEND"} or (kind == b"IDAT" and not animated):
            return
        elif kind == b"fcTL":
            yield _big(body, at + 12, 4), _big(body, at + 16, 4)
        at += 12 + _big(body, at, 4)
    raise _OutOfSteps


def _webp(body: bytes | View, steps: int) -> Iterator[Size]:
    """RFC 9649, section 2.7.1: an ANMF for each frame."""
    if body[12:16] != b"VP8X" or not body[20] & 0x02:
        return
    at = 12
    for _ in range(steps):
        kind, length = body[at : at + 4], _little(body, at + 4, 4)
        if not kind:
            return
        if kind == b"ANMF":
            yield 1 + _little(body, at + 14, 3), 1 + _little(body, at + 17, 3)
        at += 8 + length + (length & 1)
    raise _OutOfSteps


def _tiff(body: bytes | View, steps: int) -> Iterator[Size]:
    """TIFF 6.0, section 2, and BigTIFF: a chain of directories, one for each page."""
    order: Literal["little", "big"] = "little" if body[:2] == b"II" else "big"

    def number(at: int, length: int) -> int:
        return int.from_bytes(body[at : at + length], order)

    large = number(2, 2) == 43
    head, entry, pointer = (8, 20, 8) if large else (2, 12, 4)
    at, seen = number(8 if large else 4, pointer), set[int]()
    for _ in range(steps):
        if not 0 < at < len(body) or at in seen:
            return
        seen.add(at)
        count, size = number(at, head), {256: 0, 257: 0}
        for place in range(at + head, at + head + entry * min(count, _ENTRIES), entry):
            if (tag := number(place, 2)) in size:
                size[tag] = number(place + entry - pointer, 2 if number(place + 2, 2) == 3 else pointer)
        yield size[256], size[257]
        at = number(at + head + entry * count, pointer)
    raise _OutOfSteps


_WALKS: dict[str, Callable[[bytes | View, int], Iterator[Size]]] = {"GIF": _gif, "PNG": _png, "WEBP": _webp, "TIFF": _tiff}
