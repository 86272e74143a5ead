"""A page, scanned in the sandbox, and nothing of what it says taken on trust."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from services.fetcher.formats import SNIFFED, looks_like_html, sniff
from services.fetcher.guard import Guard
from services.fetcher.html.pages import MAX_ALTERNATIVES, MAX_BYTES, Scan, within
from services.fetcher.sandbox import Page
from shared import urls
from shared.errors import PermanentError, Reason, UrlRefused

if TYPE_CHECKING:
    from services.fetcher.download import Download
    from services.fetcher.sandbox import Sandbox
    from shared.settings import Settings

IN_ONE_GO = 10
"""URLs that are checked before others get their turn in the event loop: less than a millisecond."""


def is_page(copy: Download) -> bool:
    """Whether a body that is no file of any known format is a page: by its Content-Type, or because it begins as pages do."""
    head = copy.body.first(SNIFFED)
    try:
        sniff(head)
    except PermanentError as error:
        return error.reason == Reason.NOT_AN_IMAGE and looks_like_html(head, copy.content_type)
    return False


class Scanner:
    """Scans pages within limits, without holding up the event loop."""

    def __init__(self, sandbox: Sandbox, settings: Settings) -> None:
        self._sandbox = sandbox
        self._settings = settings
        self._guard = Guard.of(settings)

    async def scan(self, copy: Download) -> Scan:
        """What is on a page that may be asked for, in the end at most MAX_BYTES of it.

        Raises PermanentError: too_large, or not_an_image for a page that can't be scanned in time or memory; or TransientError.
        """
        limit = self._settings.max_page_bytes
        if copy.body.size > limit:
            raise PermanentError(Reason.TOO_LARGE, f"The page has {copy.body.size:,} bytes, more than the {limit:,} that a page may have.")
        page = Page(copy.final_url, copy.content_type, self._settings.page_images)
        return await self._checked(await self._sandbox.scan(copy.body, page))

    async def _checked(self, found: Scan) -> Scan:
        """Each URL parsed again, and checked: hostile markup was read over there, and who knows what answers by now."""
        images: dict[str, list[str]] = {}
        refused = found.refused
        for number, image in enumerate(found.images[: self._settings.page_images]):
            if number % IN_ONE_GO == 0:
                await asyncio.sleep(0)
            href = self._allowed(image)
            if not href:
                refused += 1
                continue
            given = found.alternatives.get(image, [])[:MAX_ALTERNATIVES]
            others = [other for other in map(self._allowed, given) if other]
            refused += len(given) - len(others)
            images[href] = others
            if others:
                await asyncio.sleep(0)
        alternatives = {href: others for href, others in images.items() if others}
        return within(msgspec.structs.replace(found, images=list(images), alternatives=alternatives, refused=refused), MAX_BYTES)

    def _allowed(self, text: str) -> str | None:
        try:
            url = urls.parse(text, ports=self._settings.fetch_ports)
            self._guard.check(url)
        except (UrlRefused, PermanentError):
            return None
        return url.href
