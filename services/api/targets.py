"""Which URLs are taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared import addresses, urls

if TYPE_CHECKING:
    from shared.settings import Settings
    from shared.urls import Url


def accepted(text: str, settings: Settings) -> Url:
    """The URL in canonical form. Raises UrlRefused for one that the fetchers wouldn't ask for, as far as that shows without asking DNS."""
    url = urls.parse(text, ports=settings.fetch_ports)
    addresses.check_literal(url, settings.fetch_allow)
    return url
