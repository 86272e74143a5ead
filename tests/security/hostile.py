"""Files made to harm whoever opens them, and what has to become of each: a set of reasons, or `stored`.

All are at most a megabyte long. Made by code, so that a reader sees what is wrong with each.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import NamedTuple

from shared.errors import Reason
from tests.origin import image

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "ICO")
STORED: frozenset[Reason] = frozenset()
PIXELS = frozenset({Reason.TOO_MANY_PIXELS})
BROKEN = frozenset({Reason.NOT_AN_IMAGE, Reason.TRUNCATED})
ANY = BROKEN | PIXELS | {Reason.UNSUPPORTED_FORMAT, Reason.TOO_LARGE}


class File(NamedTuple):
    """Some bytes, and the reasons for which they may fail: none of them if they must be stored."""

    content: bytes
    reasons: frozenset[Reason]
    may_be_stored: bool = False


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: bytes, size: tuple[int, int] = (1, 1), data: bytes | None = None) -> bytes:
    """A PNG in shades of grey with some chunks before its data."""
    packed = zlib.compress(b"\0\0") if data is None else data
    ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + ihdr + b"".join(chunks) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def tiff(*entries: tuple[int, int, int, int], following: int = 0, count: int | None = None) -> bytes:
    """A TIFF of one directory: tag, type, count and value of each entry, and where the next directory is."""
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries) if count is None else count) + directory + struct.pack("<I", following)


def ico(*entries: bytes, offsets: int | None = None) -> bytes:
    """An ICO with some files in it."""
    at = 6 + 16 * len(entries)
    head = struct.pack("<HHH", 0, 1, len(entries))
    for entry in entries:
        head += struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(entry), at if offsets is None else offsets)
        at += len(entry)
    return head + b"".join(entries)


def bmp(width: int, height: int, bits: int = 24, compression: int = 0) -> bytes:
    """A BMP's header with a few bytes after it."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 64, 0, 0, 54) + info + b"\0" * 64


_SIZED = ((256, 4, 1), (257, 4, 1))
_JPEG, _GIF = image("JPEG"), image("GIF")
_GIF_HEAD = 13 + (3 << (_GIF[10] & 7) + 1)


def _jpeg_of(width: int, height: int) -> bytes:
    at = _JPEG.index(b"\xff\xc0")
    return _JPEG[: at + 5] + struct.pack(">HH", height, width) + _JPEG[at + 9 :]


def _gif_of(width: int, height: int) -> bytes:
    return _GIF[:6] + struct.pack("<HH", width, height) + _GIF[10:]


def _tiff_of(width: int, height: int) -> bytes:
    return tiff((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, 4))


def _webp_of(width: int, height: int) -> bytes:
    canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    content = (
        b"WEBPVP8X"
        + struct.pack("<I", 10)
        + b"\x02\0\0\0"
        + canvas
        + b"ANIM"
        + struct.pack("<I", 6)
        + b"\0" * 6
        + b"ANMF"
        + struct.pack("<I", 16)
        + b"\0" * 16
    )
    return b"RIFF" + struct.pack("<I", len(content)) + content


def _avif_of(width: int, height: int) -> bytes:
    content = image("AVIF")
    at = content.index(b"ispe") + 8
    return content[:at] + struct.pack(">II", width, height) + content[at + 8 :]


def _gif_of_frames(*frames: tuple[int, int, int, int]) -> bytes:
    pixel = b"\0\x02\x02\x4c\x01\0"
    return _GIF[:_GIF_HEAD] + b"".join(b"\x2c" + struct.pack("<HHHH", *frame) + pixel for frame in frames) + b";"


def _webp_of_frames(count: int) -> bytes:
    content = _webp_of(64, 48)
    content += content[content.index(b"ANMF") :] * (count - 1)
    return content[:4] + struct.pack("<I", len(content) - 8) + content[8:]


def _png_of_frames(count: int) -> bytes:
    frames = [chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, 1, 1, 0, 0, 1, 10, 0, 0)) for number in range(count)]
    return png(chunk(b"acTL", struct.pack(">II", count, 0)), *frames)


def _tiff_of_pages(*sizes: tuple[int, int]) -> bytes:
    content = b"II*\0" + struct.pack("<I", 8)
    for number, (width, height) in enumerate(sizes, start=1):
        entries = [(256, 4, 1, width), (257, 4, 1, height), (273, 4, 1, 8), (279, 4, 1, 4)]
        following = 8 + number * (2 + 12 * len(entries) + 4) if number < len(sizes) else 0
        content += tiff(*entries, following=following)[8:]
    return content


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.html", "<script>alert(1)</script>")
    return file.getvalue()


_ZEROS = zlib.compress(b"\0" * 70_000_000, 9)
_SCRIPT = b"<html><script>alert(document.domain)</script></html>"

BOMBS = {
    "bomb.png": File(png(size=(50_000, 50_000)), PIXELS),
    "bomb of zeros.png": File(png(size=(50_000, 50_000), data=_ZEROS), PIXELS),
    "bomb, flat.png": File(png(size=(2**31 - 1, 1)), PIXELS),
    "bomb, beyond 31 bits.png": File(png(size=(2**32 - 1, 2**32 - 1)), PIXELS | BROKEN),
    "bomb.jpg": File(_jpeg_of(65_500, 65_500), PIXELS),
    "bomb.gif": File(_gif_of(65_535, 65_535), PIXELS),
    "bomb.bmp": File(bmp(50_000, 50_000), PIXELS),
    "bomb, negative.bmp": File(bmp(50_000, -50_000), PIXELS | BROKEN),
    "bomb, run lengths.bmp": File(bmp(50_000, 50_000, 8, 1), PIXELS),
    "bomb.tiff": File(_tiff_of(50_000, 50_000), PIXELS),
    "bomb, beyond 31 bits.tiff": File(_tiff_of(2**32 - 1, 2**32 - 1), PIXELS | BROKEN),
    "bomb.webp": File(_webp_of(2**24, 200), PIXELS),
    "bomb.avif": File(_avif_of(50_000, 50_000), PIXELS | BROKEN),
    "bomb within.ico": File(ico(png(size=(50_000, 50_000))), PIXELS | BROKEN),
    "many bombs within.ico": File(ico(*[png(size=(50_000, 50_000))] * 500), PIXELS | BROKEN),
}
FRAMES = {
    "6,000 frames.gif": File(_gif_of_frames(*[(0, 0, 1, 1)] * 6_000), PIXELS),
    "6,000 frames.webp": File(_webp_of_frames(6_000), PIXELS),
    "6,000 frames.png": File(_png_of_frames(6_000), PIXELS),
    "6,000 pages.tiff": File(_tiff_of_pages(*[(1, 1)] * 6_000), PIXELS),
    "a frame far outside.gif": File(_gif_of_frames((0, 0, 1, 1), (65_000, 65_000, 1, 1)), PIXELS),
    "a bomb on the second page.tiff": File(_tiff_of_pages((1, 1), (50_000, 50_000)), PIXELS),
}
TEXTS = {
    f"{kind.decode()} {where}.png": File(
        png(packed) if where == "before" else png()[:-12] + packed + png()[-12:],
        frozenset({Reason.TOO_LARGE}),
    )
    for kind in (b"zTXt", b"iTXt", b"iCCP")
    for where in ("before", "after")
    for packed in (chunk(kind, b"a\0" + (b"\1\0\0\0" if kind == b"iTXt" else b"\0") + _ZEROS),)
} | {
    "many small texts.png": File(png(*[chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 100_000))] * 2000), frozenset({Reason.TOO_LARGE})),
}
CUT_OFF = {f"{part:.0%} of {name}": File(image(name)[: int(len(image(name)) * part)], BROKEN) for name in FORMATS for part in (0.1, 0.5, 0.9)} | {
    f"magic number of {name}": File(image(name)[:length], BROKEN) for name, length in zip(FORMATS, (3, 8, 6, 12, 12, 2, 4, 4), strict=True)
}
POLYGLOTS = {
    "a zip after a JPEG": File(_JPEG + _zip(), STORED),
    "a page after a PNG": File(image("PNG") + _SCRIPT, STORED),
    "a page within a PNG's text": File(png(chunk(b"tEXt", b"Comment\0" + _SCRIPT)), STORED),
    "a page within a JPEG's comment": File(_JPEG[:2] + b"\xff\xfe" + struct.pack(">H", 2 + len(_SCRIPT)) + _SCRIPT + _JPEG[2:], STORED),
    "a script that begins like a GIF": File(b"GIF89a/*" + _GIF[8:] + b"*/=1;alert(1)//;", ANY, may_be_stored=True),
    "a script that is little more than that": File(b"GIF89a=1;alert(1)//;", BROKEN),
    "a PNG after a page": File(_SCRIPT + image("PNG"), frozenset({Reason.NOT_AN_IMAGE})),
    "a PDF that is a JPEG too": File(b"%PDF-1.4\n" + _JPEG, frozenset({Reason.UNSUPPORTED_FORMAT})),
    "a JPEG after a BMP's magic": File(b"BM" + _JPEG, frozenset({Reason.NOT_AN_IMAGE})),
    "EPS within a TIFF": File(tiff((256, 4, 1, 10), (257, 4, 1, 10)) + b"%!PS-Adobe-3.0 EPSF-3.0", BROKEN),
    "ImageMagick's script": File(
        b"push graphic-context\nviewbox 0 0 640 480\nfill 'url(http://127.0.0.1/)'\npop graphic-context", frozenset({Reason.NOT_AN_IMAGE})
    ),
    "a list of files": File(b"ffconcat version 1.0\nfile /etc/passwd\n", frozenset({Reason.NOT_AN_IMAGE})),
    "a link to a file": File(b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10.0,\nfile:///etc/passwd\n", frozenset({Reason.NOT_AN_IMAGE})),
}
COSTLY = {
    "tiny segments.jpg": File(b"\xff\xd8" + b"\xff\xe1\0\2" * 250_000 + _JPEG[2:], ANY, may_be_stored=True),
    "fill bytes.jpg": File(b"\xff\xd8" + b"\xff" * 1_000_000 + _JPEG[2:], ANY, may_be_stored=True),
    "no end.jpg": File(_JPEG[:-2] + b"\xff\0" * 500_000, BROKEN, may_be_stored=True),
    "empty chunks.png": File(png(*[chunk(b"teSt", b"")] * 80_000), ANY, may_be_stored=True),
    "data that grows.png": File(png(size=(3000, 3000), data=zlib.compress(b"\0" * 100_000_000, 9)), ANY, may_be_stored=True),
    "tiny blocks.gif": File(_GIF[:13] + b"\x21\xfe" + b"\1a" * 500_000 + b"\0;", ANY),
    "many frames.gif": File(_GIF[:-1] + _GIF[_GIF_HEAD:-1] * 300 + b";", STORED),
    "tiny chunks.webp": File(
        b"RIFF" + struct.pack("<I", 1_000_022) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0" * 10 + b"XXXX\0\0\0\0" * 125_000, ANY
    ),
    "a directory that leads to itself.tiff": File(tiff(*[(tag, kind, count, 100) for tag, kind, count in _SIZED], following=8), ANY),
    "a directory of 65,535 entries.tiff": File(tiff(*[(65_000, 4, 1, 0)] * 65_535), ANY),
    "a value of four billion parts.tiff": File(tiff((256, 4, 1, 10), (257, 4, 1, 10), (273, 4, 2**32 - 1, 8), (279, 4, 2**32 - 1, 8)), ANY),
    "65,535 entries.ico": File(struct.pack("<HHH", 0, 1, 65_535) + b"\0" * 1_000_000, ANY),
    "entries that contain themselves.ico": File(ico(*[b"x" * 16] * 2000, offsets=0), ANY),
    "boxes without end.avif": File(image("AVIF")[:32] + struct.pack(">I4s", 8, b"free") * 120_000, ANY),
    "boxes within boxes.avif": File(image("AVIF")[:32] + b"".join(struct.pack(">I4s", 8 * depth, b"meta") for depth in range(100_000, 0, -1)), ANY),
    "open comments": File(b"<!--" * 250_000, frozenset({Reason.NOT_AN_IMAGE})),
    "open declarations": File(b"<!DOCTYPE [" * 90_000, frozenset({Reason.NOT_AN_IMAGE})),
    "a billion laughs.svg": File(
        b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "ha">' + b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a;" * 10) for n in range(9)) + b"]><svg>&a8;</svg>",
        frozenset({Reason.UNSUPPORTED_FORMAT, Reason.NOT_AN_IMAGE}),
    ),
}  # fmt: skip
OUTSIDE = {
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "SVG with a prolog": b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- x -->\n<!DOCTYPE svg PUBLIC 'a' 'b'>\n<svg xmlns='http://www.w3.org/2000/svg'/>",
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/etc/passwd) (r) file",
    "EPS with a preview": b"\xc5\xd0\xd3\xc6" + b"\0" * 100,
    "PSD": b"8BPS\0\1" + b"\0" * 100,
    "FITS": b"SIMPLE  =                    T" + b" " * 2850,
    "PDF": b"%PDF-1.7\n" + b"x" * 100,
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 100,
    "JPEG XL": b"\xff\x0a" + b"\0" * 100,
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100,
    "MP4": b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + b"\0" * 100,
    "ICNS": b"icns\0\0\0\x20" + b"\0" * 100,
    "cursor": b"\0\0\2\0\1\0" + b"\0" * 100,
    "DDS": b"DDS \x7c\0\0\0" + b"\0" * 124,
    "Netpbm": b"P6\n1 1\n255\n\0\0\0",
    "PCX": b"\x0a\5\1\x08" + b"\0" * 124,
    "SGI": b"\x01\xda\1\1" + b"\0" * 508,
    "XPM": b"/* XPM */",
    "EMF": b"\1\0\0\0" + b"\0" * 36 + b" EMF" + b"\0" * 60,
    "WMF": b"\xd7\xcd\xc6\x9a" + b"\0" * 100,
    "OpenEXR": b"\x76\x2f\x31\x01" + b"\0" * 100,
    "QOI": b"qoif" + b"\0" * 20,
    "Radiance": b"#?RADIANCE\n",
    "GIMP": b"gimp xcf file\0",
    "BLP": b"BLP2" + b"\0" * 100,
    "DjVu": b"AT&TFORM" + b"\0" * 20,
}
UNSUPPORTED = {name: File(content, frozenset({Reason.UNSUPPORTED_FORMAT})) for name, content in OUTSIDE.items()}

EVERYTHING = BOMBS | FRAMES | TEXTS | CUT_OFF | POLYGLOTS | COSTLY | UNSUPPORTED
