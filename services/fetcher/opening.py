"""Pillow's word on a file: its size, and whether it is whole. Bounded only by what runs it; see sandbox.py.

A file is whole if it ends as its format says; what follows is nobody's business. Of the formats whose end is often
missing although the picture is not (JPEG, GIF), or has no mark (BMP, TIFF), a doubtful file is decoded: those that
browsers show in full are kept, those of which a part is missing are not.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import TYPE_CHECKING

# Importing a plug-in registers its format. These are all that there will be: Image.init, which loads the other forty, isn't called.
from PIL import (  # noqa: F401
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from services.fetcher import frames
from shared.errors import PermanentError, Reason

if TYPE_CHECKING:
    from services.fetcher.frames import Most
    from services.fetcher.headers import Size

DECODED_PIXELS = 25_000_000
"""Larger images without their end mark are taken for cut off, without being decoded."""

_INFLATED = {b"zTXt": 1024**2, b"iTXt": 1024**2, b"iCCP": 8 * 1024**2}
"""Bytes that all of a PNG's compressed texts may come to, as in Pillow, and its colour profile, a few of which are large."""

_DECODED_IN_DOUBT = frozenset({"JPEG", "GIF", "BMP", "TIFF"})
_EOI = b"\xff\xd9"
_BOXES = 1_000
_STRIPS = (273, 279), (324, 325)  # TIFF 6.0: offsets and byte counts of strips, and of tiles


def open_with_pillow(name: str, body: bytes, most: Most) -> Size:
    """Width and height in pixels of a file of the format `name` (formats.CONTENT_TYPES).

    Raises PermanentError: not_an_image (its header is broken), truncated, too_many_pixels, too_large (text in a PNG
    that grows beyond its limit). Any time and memory may pass before that, and Pillow's global limits are set.
    """
    frames.check(name, body, most, steps=frames.WITHOUT_END)
    if name == "PNG":
        _check_text(body)
    Image.MAX_IMAGE_PIXELS = most.pixels
    PngImagePlugin.MAX_TEXT_CHUNK = max(_INFLATED.values())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(body), formats=[name]) as image:
                most.check_frames(getattr(image, "n_frames", 1) if name == "AVIF" else 1)
                return _whole(name, image, body)
    except (PermanentError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PermanentError(Reason.TOO_MANY_PIXELS, f"The image has more than {most.pixels:,} pixels.") from None
    except Exception:  # noqa: BLE001  (a broken file gets anything out of a plug-in, from KeyError to RecursionError)
        raise PermanentError(Reason.NOT_AN_IMAGE, f"The body begins like {name}, but its header is broken or cut off.") from None


def _whole(name: str, image: Image.Image, body: bytes) -> Size:
    if name == "ICO" and _has_entries(body):
        image.load()  # the picture inside has a header of its own, and that one counts
        return image.size
    if _has_end(name, image, body):
        return image.size
    cut_off = PermanentError(Reason.TRUNCATED, "The image is cut off or broken: a part of the picture is missing.")
    if name not in _DECODED_IN_DOUBT or image.width * image.height > DECODED_PIXELS:
        raise cut_off
    try:
        if name != "JPEG" or not _has_whole_scan(body):
            image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        raise
    except Exception:  # noqa: BLE001  (likewise)
        raise cut_off from None
    return image.size


def _has_whole_scan(body: bytes) -> bool:
    """Whether a JPEG without its end mark lacks nothing else: then what is put after it doesn't change the picture."""
    return _decoded(body + _EOI) == _decoded(body + b"\x55" * 64 + _EOI)


def _decoded(body: bytes) -> bytes:
    with Image.open(io.BytesIO(body), formats=["JPEG"]) as image:
        return image.tobytes()


def _has_end(name: str, image: Image.Image, body: bytes) -> bool:  # noqa: PLR0911  (a table)
    match name:
        case "JPEG":
            return body.rfind(_EOI, body.find(b"\xff\xda")) > 0
        case "PNG":
            return b"\0\0\0\0IEND" in body
        case "GIF":
            return body.endswith(b";")
        case "WEBP":
            return len(body) + 1 >= 8 + int.from_bytes(body[4:8], "little")
        case "BMP":
            return len(body) >= int.from_bytes(body[2:6], "little") > 0
        case "TIFF":
            return _has_strips(image, len(body))
        case "AVIF":
            return _has_boxes(body)
        case _:
            return False


def _has_entries(body: bytes) -> bool:
    ends = (sum(struct.unpack_from("<II", body, 6 + 16 * entry + 8)) for entry in range(int.from_bytes(body[4:6], "little")))
    return max(ends, default=0) <= len(body)


def _has_strips(image: Image.Image, end: int) -> bool:
    tags = getattr(image, "tag_v2", {})
    ends = [
        offset + count
        for offsets, counts in _STRIPS
        for offset, count in zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)
    ]  # fmt: skip
    return bool(ends) and max(ends) <= end


def _has_boxes(body: bytes) -> bool:
    at = 0
    for _ in range(_BOXES):
        if at >= len(body):
            return at == len(body)
        size = int.from_bytes(body[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(body[at + 8 : at + 16], "big")
        if size == 0:
            return True  # to the end of the file (ISO/IEC 14496-12, section 4.2)
        if size < 8:  # noqa: PLR2004  (a box's header)
            return False
        at += size
    return False


def _check_text(body: bytes) -> None:
    """Refuses a PNG whose texts or colour profile would fill a reader's memory (W3C PNG, section 11.3)."""
    at, left = 8, dict(_INFLATED)
    while at + 8 <= len(body):
        length, kind = int.from_bytes(body[at : at + 4], "big"), body[at + 4 : at + 8]
        if kind in left:
            left[kind] -= _inflated(kind, body[at + 8 : at + 8 + length], left[kind])
            if left[kind] < 0:
                raise PermanentError(Reason.TOO_LARGE, f"The PNG's {kind.decode()} is larger than {_INFLATED[kind]:,} bytes when decompressed.")
        at += 12 + length


def _inflated(kind: bytes, chunk: bytes, most: int) -> int:
    _, _, packed = chunk.partition(b"\0")
    if kind == b"iTXt":
        if packed[:1] != b"\1":
            return 0
        # Method, language tag and translated keyword, the latter two ended by a zero byte, stand before the text.
        packed = packed[2:].split(b"\0", 2)[-1]
    try:
        return len(zlib.decompressobj().decompress(packed[1:] if kind != b"iTXt" else packed, most + 1))
    except zlib.error:
        return 0
