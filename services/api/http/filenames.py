"""The name under which a browser saves a copy: Content-Disposition (RFC 6266), from the URL that it came from."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote, unquote, urlsplit

MAX_NAME = 100
_EXTENSIONS = {"jpeg": "jpg", "tiff": "tif"}
_MAX_EXTENSION = 5
# What some system gives a meaning in a file's name.
_RESERVED = frozenset('/\\:*?"<>|%')
_ATTR_CHAR = "!#$&+-.^_`|~"  # unescaped in an extended value (RFC 8187, section 3.2.1), beside letters and digits


def content_disposition(url: str, fallback: str, image_format: str) -> str:
    """`inline` with a name made of the URL's last path segment, or of `fallback`, and the extension of the recognised format."""
    name = filename(url, fallback, image_format)
    plain = "".join(c if c.isascii() else "_" for c in name)
    if plain == name:
        return f'inline; filename="{name}"'
    return f"inline; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe=_ATTR_CHAR)}"


def filename(url: str, fallback: str, image_format: str) -> str:
    """A name without path, control or formatting characters that is harmless on any system."""
    segment = unquote(urlsplit(url).path.rpartition("/")[2])
    stem = _without_extension("".join(c for c in segment if _harmless(c)))
    stem = stem.strip(" .")[:MAX_NAME].rstrip(" .") or fallback
    image_format = image_format.lower()
    return f"{stem}.{_EXTENSIONS.get(image_format, image_format)}"


def _harmless(character: str) -> bool:
    # C: controls, and the formatting characters that can make "gpj.exe" look like "exe.jpg".
    return character not in _RESERVED and unicodedata.category(character)[0] != "C" and character != "\ufffd"


def _without_extension(name: str) -> str:
    stem, dot, extension = name.rpartition(".")
    return stem if dot and len(extension) <= _MAX_EXTENSION and extension.isalnum() else name
