"""URLs: the one reading of them that is checked, hashed, stored and dialled.

The parser is ada's, the WHATWG URL Standard's as in browsers. What it returns is the canonical form:
lower-case scheme and host, IDNA and odd spellings of IPv4 settled, default port and fragment gone.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import ada_url
import msgspec

from shared.errors import UrlRefused

if TYPE_CHECKING:
    from collections.abc import Container

MAX_URL_BYTES = 2048
"""As long as anything that browsers, proxies and search engines agree to carry."""

_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"  # RFC 4648, section 6, in lower case
_PAIRS = [first + second for first in _BASE32 for second in _BASE32]

IMAGE_ID = re.compile(r"[a-z2-7]{26}")
DEFAULT_PORTS = {"http": 80, "https": 443}

# The WHATWG parser mends these silently (it drops tabs and line ends, and reads "http:x" as "http://x").
# A URL that needs mending is a mistake or a trick, and either way its sender should hear of it.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_AUTHORITY = re.compile(r"https?://[^/\\?#]", re.IGNORECASE)
_DOT_AT_END = re.compile(r"https?://[^/\\?#]*(?:[.。．｡]|%2e)(?::[^/\\?#]*)?(?:[/\\?#]|$)", re.IGNORECASE)  # noqa: RUF001  (the parser's other dots)


class Url(msgspec.Struct, frozen=True):
    """A URL in canonical form. `host` is as dialled: lower case, ASCII, an IPv6 address in brackets."""

    href: str
    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """Host and port as in `href`, and as the header Host has them (RFC 9110, section 7.2): a default port is left out."""
        return self.host if self.port == DEFAULT_PORTS[self.scheme] else f"{self.host}:{self.port}"


def parse(text: str, *, ports: Container[Any] | None = None) -> Url:
    """Reads a URL that somebody gave us.

    Raises UrlRefused with one of these rules: url-too-long, url-characters, url-scheme, url-syntax,
    url-credentials, url-host, url-port (only when `ports` is given and the URL's isn't among them). shared/addresses.py adds url-address.
    """
    if len(text) > MAX_URL_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_URL_BYTES:
        raise UrlRefused("url-too-long", f"The URL is longer than {MAX_URL_BYTES:,} bytes.")
    if found := _FORBIDDEN.search(text):
        raise UrlRefused("url-characters", f"The URL has a space or a control character (U+{ord(found[0]):04X}) in it.")
    scheme = _SCHEME.match(text)
    if not scheme:
        raise UrlRefused("url-syntax", "This is not an absolute URL: it should begin with http:// or https://.")
    if scheme[1].lower() not in DEFAULT_PORTS:
        raise UrlRefused("url-scheme", "Only http and https URLs can be downloaded.")
    if not _AUTHORITY.match(text):
        raise UrlRefused("url-syntax", "The URL names no host: it should look like https://host/path.")
    try:
        # A fragment is the only place for a "#" in what the parser writes.
        href = ada_url.normalize_url(text).partition("#")[0]
        # It must be a fixed point, or what is hashed today is not what is dialled tomorrow.
        settled = href == text or ada_url.normalize_url(href) == href
    except ValueError:
        raise UrlRefused("url-syntax", "The URL can't be parsed: its host or its port is not valid.") from None
    if not settled:
        raise UrlRefused("url-syntax", "The URL has no settled form.")
    # Read from the text rather than asked of the parser, each of whose answers costs as much as parsing.
    scheme_name = "https" if href.startswith("https:") else "http"
    user, _, authority = href[len(scheme_name) + 3 :].partition("/")[0].rpartition("@")
    host, port_text = _host_and_port(authority)
    # Of an address the parser drops the dot, of a name, which never ends in a digit's label, it doesn't.
    if not host or host.endswith(".") or ".." in host or host.startswith(".") or (host[-1].isdigit() and _DOT_AT_END.match(text)):
        raise UrlRefused("url-host", "The URL's host has an empty label or ends in a dot.")
    if len(href) > MAX_URL_BYTES:
        raise UrlRefused("url-too-long", f"The URL, percent-encoded, is longer than {MAX_URL_BYTES:,} bytes.")
    if user:
        raise UrlRefused("url-credentials", "The URL carries a user name or a password; neither would be sent.")
    port = int(port_text or DEFAULT_PORTS[scheme_name])
    if ports is not None and port not in ports:
        raise UrlRefused("url-port", f"Port {port} is not among those that may be asked.")
    return Url(href=href, scheme=scheme_name, host=host, port=port)


def _host_and_port(authority: str) -> tuple[str, str]:
    if authority.endswith("]"):  # an IPv6 address has colons of its own
        return authority, ""
    host, colon, port = authority.rpartition(":")
    return (host, port) if colon else (port, "")


def image_id(href: str) -> str:
    """The id of the image at a canonical URL: the first 130 bits of its SHA-256, base32 in lower case."""
    n, p = int.from_bytes(hashlib.sha256(href.encode()).digest()[:17], "big") >> 6, _PAIRS
    # Two characters at a time, and no loop: base64.b32encode takes more than twice as long, which is felt with 20,000 URLs a second.
    return (
        f"{p[n >> 120]}{p[n >> 110 & 1023]}{p[n >> 100 & 1023]}{p[n >> 90 & 1023]}{p[n >> 80 & 1023]}{p[n >> 70 & 1023]}{p[n >> 60 & 1023]}"
        f"{p[n >> 50 & 1023]}{p[n >> 40 & 1023]}{p[n >> 30 & 1023]}{p[n >> 20 & 1023]}{p[n >> 10 & 1023]}{p[n & 1023]}"
    )


def without_query(href: str) -> str:
    """A URL for the log: query values may be secrets, so they are left out."""
    path, mark, _ = href.partition("?")
    return path + ("?…" if mark else "")
