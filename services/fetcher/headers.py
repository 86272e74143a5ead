"""The size of an image, read from the header of the web's usual formats: microseconds, a bounded number of steps, no C.

It answers only for files that are plain and whole. Whatever is unusual, cut off or costly gets None, and is then for
Pillow to decide, outside of this process (sandbox.py). So a hostile file has nothing here to play with.
"""

# ruff: noqa: PLR2004  (a file format is numbers; the name of each stands beside it)

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.fetcher.body import View

Size = tuple[int, int]

# Steps, beyond which a file is left to the sandbox: far more than plain files need, and a millisecond at most.
_SEGMENTS = 512
_CHUNKS = 4_000
_BLOCKS = 4_000
_TAIL = 64 * 1024


def size_of(name: str, body: bytes | View) -> Size | None:
    """Width and height in pixels of a whole file of a format, or None: not known here. Of a large file only places are looked at."""
    reader = {"JPEG": _jpeg, "PNG": _png, "GIF": _gif, "WEBP": _webp}.get(name)
    try:
        size = reader(body) if reader else None
    except IndexError:  # ends in its header
        return None
    return size if size and size[0] > 0 and size[1] > 0 else None


def _big(body: bytes | View, at: int, length: int) -> int:
    return int.from_bytes(body[at : at + length], "big")


def _little(body: bytes | View, at: int, length: int) -> int:
    return int.from_bytes(body[at : at + length], "little")


def _jpeg(body: bytes | View) -> Size | None:
    """ITU-T T.81, annex B: segments up to the first scan, one of which is a frame header that everybody can read."""
    size, at = None, 2
    for _ in range(_SEGMENTS):
        if body[at] != 0xFF:
            return None
        if body[at + 1] == 0xFF:  # a fill byte (section B.1.1.2)
            at += 1
            continue
        marker, length = body[at + 1], _big(body, at + 2, 2)
        if length < 2 or marker < 0xC0 or 0xD0 <= marker <= 0xD9:  # no segment
            return None
        if marker == 0xDA:  # start of scan
            # Anything may follow the end of image (and often does), but a file without one has lost its end.
            return size if body.rfind(b"\xff\xd9", max(at, len(body) - _TAIL)) >= 0 else None
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            plain = marker <= 0xC2 and body[at + 4] == 8 and body[at + 9] in {1, 3, 4}
            if not plain or size or length != 8 + 3 * body[at + 9]:
                return None
            size = (_big(body, at + 7, 2), _big(body, at + 5, 2))
        at += 2 + length
    return None


_PNG_DEPTHS = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
_SMALL_PROFILE = 64 * 1024


def _png(body: bytes | View) -> Size | None:
    """W3C PNG, third edition, sections 5.3 and 11.2: IHDR first, IDAT, and IEND at the end."""
    if body[8:16] != b"\0\0\0\x0dIHDR" or zlib.crc32(body[12:29]) != _big(body, 29, 4):
        return None
    if body[24] not in _PNG_DEPTHS.get(body[25], ()) or body[26] or body[27] or body[28] > 1:
        return None
    at, data = 33, False
    for _ in range(_CHUNKS):
        length, kind = _big(body, at, 4), body[at + 4 : at + 8]
        at += 12 + length
        if at > len(body):
            return None
        if kind == b"IEND":
            return (_big(body, 16, 4), _big(body, 20, 4)) if data else None
        if kind == b"IDAT":
            data = True
        elif kind in {b"zTXt", b"iTXt"} or (kind == b"iCCP" and length > _SMALL_PROFILE):
            return None  # may be a bomb
    return None


def _gif(body: bytes | View) -> Size | None:
    """GIF89a: the logical screen, widened as Pillow does it where the first frame reaches beyond."""
    if body[-1] != 0x3B:  # the trailer
        return None
    width, height, flags = _little(body, 6, 2), _little(body, 8, 2), body[10]
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    in_extension = False
    for _ in range(_BLOCKS):
        if in_extension:  # its sub-blocks, the last of which is empty
            in_extension = body[at] != 0
            at += 1 + body[at]
        elif body[at] == 0x21:  # an extension
            in_extension = True
            at += 2
        elif body[at] == 0x2C:  # an image
            left, top, across, down = (_little(body, at + i, 2) for i in (1, 3, 5, 7))
            return max(width, left + across), max(height, top + down)
        else:
            return None
    return None


def _webp(body: bytes | View) -> Size | None:
    """RFC 9649, section 2: one image, or (VP8X) a canvas and what is on it."""
    if len(body) + 1 < 8 + _little(body, 4, 4):  # some writers count a padding byte that they don't write
        return None
    kind = body[12:16]
    if kind != b"VP8X":
        return _webp_frame(kind, body, 20)
    size = (1 + _little(body, 24, 3), 1 + _little(body, 27, 3))
    at = 20 + _little(body, 16, 4)
    for _ in range(_SEGMENTS):
        kind, length = body[at : at + 4], _little(body, at + 4, 4)
        if kind == b"ANMF" and body[20] & 0x02:
            return size
        if kind in {b"VP8 ", b"VP8L"}:
            return size if _webp_frame(kind, body, at + 8) == size else None
        at += 8 + length + (length & 1)
        if at >= len(body):
            return None
    return None


def _webp_frame(kind: bytes, body: bytes | View, at: int) -> Size | None:
    if kind == b"VP8 " and body[at + 3 : at + 6] == b"\x9d\x01\x2a" and not body[at] & 1:  # RFC 6386, section 9.1
        return _little(body, at + 6, 2) & 0x3FFF, _little(body, at + 8, 2) & 0x3FFF
    if kind == b"VP8L" and body[at] == 0x2F:  # RFC 9649, section 3.4
        bits = _little(body, at + 1, 4)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None
