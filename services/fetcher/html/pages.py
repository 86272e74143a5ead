"""The images of a page: what it refers to (references.py), resolved, canonical, each once, in their order."""

from __future__ import annotations

import re
from operator import attrgetter
from typing import TYPE_CHECKING

import ada_url
import msgspec

from services.fetcher.html import charset, references
from shared import urls
from shared.errors import UrlRefused
from shared.events import Count  # noqa: TC001  (msgspec resolves it at run time)

if TYPE_CHECKING:
    from services.fetcher.html.references import Image

MAX_ALTERNATIVES = 20
"""Other sizes that are kept of one image."""

MAX_BYTES = 7 * 1024**2
"""Of the URLs of one page together, as JSON: the event that carries them stays below 8 MiB."""

MAX_RESOLVED = 25_000
"""Different spellings of URLs that are looked into on one page: the largest PAGE_IMAGES with their alternatives, or a second's work."""

_DATA = re.compile(r"[\0-\x20]*data:", re.IGNORECASE)
_BASES = ("http:", "https:")


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """What is on a page. `images` are canonical URLs, `alternatives` those of other sizes of an image by the image's own.

    `skipped` counts data: URLs, `refused` what has no canonical form here (another scheme, too long, a password…), `beyond` the images
    over the limit: at least so many, since of a page made to keep us busy not everything is looked into.
    """

    images: list[str]
    alternatives: dict[str, list[str]] = {}
    skipped: Count = 0
    refused: Count = 0
    beyond: Count = 0


def scan(body: bytes, *, url: str, content_type: str | None, limit: int) -> Scan:
    """The images on the page that came from `url`, up to `limit` of them; whatever the body, and in time that is bounded by its length.

    Pure: it asks for nothing. Queries are encoded in UTF-8 whatever the page's encoding, so that one URL has one form; of the few
    servers that wait for another, images with such a query are failures of their own.
    """
    xhtml = (content_type or "").partition(";")[0].strip().lower() == "application/xhtml+xml"
    found = references.read(charset.decode(body, content_type), xhtml=xhtml)
    return _Gathering(_base(found.base, url), url, limit).gather(found)


def within(scan: Scan, size: int) -> Scan:
    """As much of a scan as fits in `size` bytes of JSON: the images first, then the alternatives of the first of them."""
    left = size
    for number, href in enumerate(scan.images):
        left -= _cost(href)
        if left < 0:
            return msgspec.structs.replace(scan, images=scan.images[:number], alternatives={}, beyond=scan.beyond + len(scan.images) - number)
    kept: dict[str, list[str]] = {}
    for href, others in scan.alternatives.items():
        left -= _cost(href) + sum(map(_cost, others))
        if left < 0:
            break
        kept[href] = others
    return msgspec.structs.replace(scan, alternatives=kept)


def _cost(href: str) -> int:
    return len(msgspec.json.encode(href)) + len(",:[]")


def _base(href: str | None, url: str) -> str:
    """The document base URL (HTML Living Standard, section 2.4.3): that of `base`, unless it is nothing to resolve against."""
    try:
        base = ada_url.URL(href.replace("\0", ""), base=url) if href is not None else None
    except ValueError:
        return url
    return base.href if base and base.protocol in _BASES else url


class _Gathering:
    """Each spelling of a URL is resolved once, and each URL is an image once."""

    def __init__(self, base: str, page: str, limit: int) -> None:
        self._base = base
        self._page = page.partition("#")[0]
        self._limit = limit
        self._resolved: dict[str, str | None] = {}
        self._alternatives: dict[str, dict[str, None]] = {}
        self._beyond: set[str] = set()
        self._skipped = 0
        self._refused = 0

    def gather(self, found: references.References) -> Scan:
        beyond = found.unread
        for image in found.images:
            if len(self._resolved) < MAX_RESOLVED:
                self._add(image)
            else:
                beyond += 1
        others = {href: list(others)[:MAX_ALTERNATIVES] for href, others in self._alternatives.items() if others}
        beyond += len(self._beyond)
        scan = Scan(images=list(self._alternatives), alternatives=others, skipped=self._skipped, refused=self._refused, beyond=beyond)
        return within(scan, MAX_BYTES)

    def _add(self, image: Image) -> None:
        # Stable: of two that are equally large, the one that the page has first.
        sizes = iter(sorted(image, key=attrgetter("rank"), reverse=True))
        href = next(filter(None, (self._resolve(size.url) for size in sizes)), None)
        if href is None:
            return
        if href not in self._alternatives and len(self._alternatives) >= self._limit:
            self._beyond.add(href)
            return
        others = self._alternatives.setdefault(href, {})
        for size in sizes:
            if len(others) >= MAX_ALTERNATIVES:
                return
            other = self._resolve(size.url)
            if other and other != href:
                others[other] = None

    def _resolve(self, text: str) -> str | None:
        """The canonical URL, or None if there is nothing to ask for: counted when it is the first time."""
        if text in self._resolved:
            return self._resolved[text]
        href = None
        if _DATA.match(text):
            self._skipped += 1
        elif text.strip("\0\t\n\f\r ")[:1] not in {"", "#"}:
            try:
                href = urls.parse(ada_url.URL(text, base=self._base).href).href
            except (UrlRefused, ValueError):
                self._refused += 1
            if href == self._page:  # nothing, in other words
                href = None
        self._resolved[text] = href
        return href
