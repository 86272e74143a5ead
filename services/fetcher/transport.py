"""httpx's transport over aiohttp, as httpx-aiohttp has it, except that the URL is asked for as it was checked.

httpx and yarl (aiohttp's URL) each rewrite URLs: "%7e" and "%2C" come out as "~" and ",", after which a signed URL isn't
valid any more, and what was checked, hashed and stored is not what is asked. So the canonical URL travels in the
request's extension "href" and is taken literally. Errors stay aiohttp's own, which say more than their httpx
counterparts (a refused address, a bad certificate and a time-out are all told apart); failures.py translates them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import httpx
import yarl
from httpx_aiohttp import AiohttpTransport

from services.fetcher.traced import trace_configs

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from services.fetcher.limits import Limits
    from shared.urls import Url

HREF = "href"
_ANY_URL = httpx.URL("http://host.invalid/")
"""In every httpx.Request, since the URL that counts travels beside it: parsing it once more would take twice as long as all the rest of a request."""

READ_BUFFER = 256 * 1024
"""Bytes that may wait unread on a connection (aiohttp pauses it at twice that), enough for most images in one go."""


def request(method: str, url: Url, headers: dict[str, str], content: bytes | None = None) -> httpx.Request:
    """A request for exactly this URL.

    With a Host of ours, since httpx, to make one, reads the host by an IDNA that is stricter than the URL parser's (☃.net).
    """
    return httpx.Request(method, _ANY_URL, headers={"host": url.authority, **headers}, content=content, extensions={HREF: url.href})


class ExactTransport(AiohttpTransport):
    """Sends an httpx.Request through an aiohttp session. Call in an event loop, with a connector that is guarded."""

    def __init__(self, connector: aiohttp.BaseConnector, tls: ssl.SSLContext, limits: Limits) -> None:
        self._session = aiohttp.ClientSession(
            connector=connector,
            # A jar, a .netrc or a proxy of the environment would carry one origin's secrets, or ours, to another.
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            read_bufsize=READ_BUFFER,
            max_line_size=limits.header_line,
            max_field_size=limits.header_line,
            max_headers=limits.header_lines,
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=limits.connect, sock_read=limits.idle),
            trace_configs=trace_configs(),
        )
        super().__init__(verify=tls, trust_env=False, client=self._session)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The head of the answer, its body yet unread. Raises aiohttp's errors. Follows no redirect."""
        response = await self._session.request(
            request.method,
            yarl.URL(request.extensions[HREF], encoded=True),
            headers=request.headers.multi_items(),
            data=request.content or None,
            allow_redirects=False,
            ssl=self.ssl_context,
        )
        # Named, since httpx otherwise tries encodings anew at each look at a field; Latin-1 has a character for every byte.
        fields = httpx.Headers(response.raw_headers, encoding="latin-1")
        return httpx.Response(response.status, headers=fields, stream=_Body(response), request=request)


class _Body(httpx.AsyncByteStream):
    """The body as it arrives, still encoded."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = self._response.content.readany
        while chunk := await read():
            yield chunk

    async def aclose(self) -> None:
        """Gives the connection back if the body was read to its end, else closes it: the rest stays unread."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()
