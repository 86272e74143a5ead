"""The member `callback_url` of what is submitted: checked before anything is recorded, as the URL of an image is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.api.http.problems import CALLBACKS_OFF, Problem
from shared import addresses, urls
from shared.errors import UrlRefused

if TYPE_CHECKING:
    from shared.settings import Settings


def check_callback(text: str, settings: Settings) -> str:
    """A callback's URL in canonical form.

    Raises Problem where callbacks are off, UrlRefused for a URL that the fetchers wouldn't ask, as far as that shows without asking DNS.
    """
    if not settings.webhook_secret:
        raise Problem(CALLBACKS_OFF, CALLBACKS_OFF.meaning)
    try:
        url = urls.parse(text, ports=settings.fetch_ports)
        addresses.check_literal(url, settings.fetch_allow)
    except UrlRefused as error:
        # There is another URL in the same body.
        raise UrlRefused(error.rule, f"callback_url: {error.detail}") from None
    return url.href
