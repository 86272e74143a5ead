"""Which format a body has, by its first bytes: those that are kept, those that are known but refused, and pages."""

from __future__ import annotations

import re

import msgspec

from shared.errors import PermanentError, Reason

CONTENT_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "ICO": "image/vnd.microsoft.icon",
}
"""The formats that are kept, by Pillow's names for them."""

_KEPT = re.compile(
    rb"(?P<JPEG>\xff\xd8\xff)|(?P<PNG>\x89PNG\r\n\x1a\n)|(?P<GIF>GIF8[79]a)|(?P<WEBP>RIFF.{4}WEBP)|(?P<BMP>BM.{4}.{8}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0)"
    rb"|(?P<TIFF>II\*\0|MM\0\*|II\+\0|MM\0\+)|(?P<ICO>\0\0\x01\0)|(?P<BMFF>.{4}ftyp)",
    re.DOTALL,
)

_REFUSED = (
    (rb"8BPS", "Photoshop"),
    (rb"%PDF-", "PDF"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript"),
    (rb"SIMPLE  =", "FITS"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000"),
    (rb"II\xbc[\0\x01]", "JPEG XR"),
    (rb"\0\0\x02\0", "Windows cursor"),
    (rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF", "Windows metafile"),
    (rb"icns", "Apple icon"),
    (rb"DDS ", "DirectDraw surface"),
    (rb"qoif", "QOI"),
    (rb"gimp xcf", "GIMP"),
    (rb"#\?RADIANCE|#\?RGBE", "Radiance"),
    (rb"\x76\x2f\x31\x01", "OpenEXR"),
    (rb"P[1-7fF][\s#]", "Netpbm"),
    (rb"FLIF", "FLIF"),
    (rb"BPG\xfb", "BPG"),
    (rb"\x8aMNG|\x8bJNG", "MNG or JNG"),
    (rb"\x0a[\0\x02\x03\x05]\x01[\x01\x02\x04\x08]", "PCX"),
    (rb"\xb1\x68\xde\x3a", "DCX"),
    (rb"\x01\xda[\0\x01][\x01\x02]", "SGI"),
    (rb"\x59\xa6\x6a\x95", "Sun raster"),
    (rb"AT&TFORM", "DjVu"),
    (rb"/\* XPM", "XPM"),
    (rb"BLP[12]", "BLP"),
    (rb"\x1a\x45\xdf\xa3|.{4}moov", "video"),
)
_REFUSED_FORMAT = re.compile(b"|".join(b"(%s)" % magic for magic, _ in _REFUSED), re.DOTALL)

_BLANK = b"\t\n\x0c\r "
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_SVG = re.compile(rb"<(?:svg:)?svg[\s>/]", re.IGNORECASE)
# WHATWG MIME Sniffing Standard, section 7.1: the tags with which a page begins.
_HTML = re.compile(rb"<(?:!DOCTYPE HTML|HTML|HEAD|SCRIPT|IFRAME|H1|DIV|FONT|TABLE|A|STYLE|TITLE|B|BODY|BR|P|META|LINK)[\s>/]|<!--", re.IGNORECASE)
_HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
SNIFFED = 8192
"""The bytes of a body that tell its kind."""

_PROLOG = 20


class Recognised(msgspec.Struct, frozen=True):
    """An image: `format` is Pillow's name in upper case, sizes are in pixels as stored (an Exif orientation is not applied)."""

    format: str
    content_type: str
    width: int
    height: int


def sniff(body: bytes) -> str:
    """The format, a key of CONTENT_TYPES, that a body begins like (its first SNIFFED bytes). Raises PermanentError: not_an_image or unsupported_format."""
    if not body:
        raise PermanentError(Reason.NOT_AN_IMAGE, "The body is empty.")
    head = body[:SNIFFED]
    if found := _KEPT.match(head):
        return str(found.lastgroup) if found.lastgroup != "BMFF" else _sniff_media_file(head)
    if found := _REFUSED_FORMAT.match(head):
        raise _unsupported(_REFUSED[(found.lastindex or 1) - 1][1])
    text = head.removeprefix(_UTF8_MARK)
    if _is_svg(text):
        raise PermanentError(Reason.UNSUPPORTED_FORMAT, "SVG is refused: it is a document that can carry scripts.")
    raise PermanentError(Reason.NOT_AN_IMAGE, "The body is not an image of a format that is kept.")


def looks_like_html(body: bytes, content_type: str | None) -> bool:
    """Whether a body that is no image is a page: it says so by its Content-Type, or begins as pages do.

    Content-Type alone is believed only for what looks like text, since many servers call everything text/html. What is called an image
    and isn't one is no page either: an error, most often, whose own pictures nobody asked for.
    """
    head = body[:SNIFFED]
    claimed = (content_type or "").partition(";")[0].strip().lower()
    if claimed.startswith("image/"):
        return False
    if claimed in _HTML_TYPES:
        return bool(head) and (b"\0" not in head or head.startswith(_UTF16_MARKS))
    text = head.removeprefix(_UTF8_MARK)
    return bool(_HTML.match(text.lstrip(_BLANK))) and not _is_svg(text)


def _is_svg(text: bytes) -> bool:
    """Whether the root element is svg. By hand, since a regular expression for what may precede it goes back and forth for ever."""
    for _ in range(_PROLOG):
        text = text.lstrip(_BLANK)
        if text.startswith(b"<!--"):
            end = b"-->"
        elif text.startswith(b"<?"):
            end = b"?>"
        elif text[:9].upper() == b"<!DOCTYPE" and text[9:].lstrip(_BLANK)[:4].lower() != b"html":
            # A document type may hold declarations in brackets, each of which ends like it.
            if b"[" in text.partition(b">")[0]:
                text = text.partition(b"]")[2]
            end = b">"
        else:
            return bool(_SVG.match(text))
        text = text.partition(end)[2]
    return False


def _sniff_media_file(head: bytes) -> str:
    # ISO/IEC 14496-12, section 4.3: after the size and "ftyp" a major brand, its version, and the compatible ones.
    if len(head) < 16:  # noqa: PLR2004  (the least such a box can have)
        raise PermanentError(Reason.NOT_AN_IMAGE, "The body ends in its header.")
    brands = head[8 : max(16, min(int.from_bytes(head[:4], "big"), 256))]
    names = {brands[i : i + 4] for i in range(0, len(brands), 4) if i != 4}  # noqa: PLR2004  (the version)
    if names & {b"avif", b"avis"}:
        return "AVIF"
    raise _unsupported("HEIF" if names & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"} else "video")


def _unsupported(name: str) -> PermanentError:
    kept = ", ".join(CONTENT_TYPES)
    return PermanentError(Reason.UNSUPPORTED_FORMAT, f"This is a {name} file; kept are {kept}.")
