"""From where a browser may ask: what keeps other people's web pages from using an api that is on their visitor's machine or network."""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import TYPE_CHECKING

import ada_url

from services.api.http.problems import BAD_REQUEST, CROSS_ORIGIN, WRONG_HOST, Problem
from shared.errors import SettingsError

if TYPE_CHECKING:
    from shared.settings import Settings

MAX_HOST = 255 + len(":65535")
_HOST = re.compile(rb"(\[[0-9a-fA-F:.]+\]|[^\[\]:@/\\?#\s,]+)(?::[0-9]{0,5})?")
_REMEMBERED = 512


class Origins:
    """The hosts that are this api's own, and its origins.

    With `only_ours`, which is for an api that anybody on the machine may use, a request for another host is refused: a page
    whose name its owner has resolve to 127.0.0.1 (DNS rebinding) is of the same origin to a browser, but has its own name in Host.
    """

    def __init__(self, settings: Settings, *, only_ours: bool) -> None:
        self._only_ours = only_ours
        self._names = {"localhost", settings.host.lower()}
        self._public: bytes | None = None
        if settings.public_url:
            try:
                public = ada_url.URL(settings.public_url)
            except ValueError:
                raise SettingsError(["BOWERBIRD_PUBLIC_URL should be a URL such as https://pictures.example/api."]) from None
            self._names.add(public.hostname)
            self._public = public.origin.encode()
        self._is_ours = functools.lru_cache(_REMEMBERED)(self._named)

    def check_host(self, host: bytes | None, http_version: str) -> None:
        """Raises Problem when the header Host isn't there (RFC 9112, section 3.2), isn't one, or isn't ours where that matters."""
        if host is None:
            # What speaks HTTP/1.0 without naming a host is no browser.
            if http_version != "1.0":
                raise Problem(BAD_REQUEST, "The header Host is missing.")
        elif not self._is_ours(host):
            raise Problem(WRONG_HOST, "This server isn't known by the name in the header Host; BOWERBIRD_PUBLIC_URL would make it known.")

    def check_origin(self, origin: bytes | None, site: bytes | None, host: bytes | None) -> None:
        """Raises Problem for a request that a browser sends on behalf of another origin's page (Fetch, section 3.2; Fetch Metadata)."""
        if site is not None and site not in {b"same-origin", b"none"}:
            raise Problem(CROSS_ORIGIN, CROSS_ORIGIN.meaning)
        if origin is not None and origin != self._public and not _same(origin, host):
            raise Problem(CROSS_ORIGIN, CROSS_ORIGIN.meaning)

    def _named(self, host: bytes) -> bool:
        """Whether a Host is ours. Raises Problem if it is none."""
        found = _HOST.fullmatch(host) if len(host) <= MAX_HOST else None
        if not found:
            raise Problem(BAD_REQUEST, "The header Host isn't a host, with or without a port.")
        if not self._only_ours:
            return True
        name = found[1].decode("latin-1").lower()
        return name in self._names or _is_loopback(name.strip("[]"))


def _same(origin: bytes, host: bytes | None) -> bool:
    """Whether an origin's host and port are those of the request. Not its scheme: behind a proxy that ends TLS, this server doesn't know its own."""
    return host is not None and origin.partition(b"://")[2].lower() == host.lower()


def _is_loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False
