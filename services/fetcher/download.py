"""One URL in, its bytes out, or a DownloadError that says why not. Nothing else leaves this module, but PutOff when there is no room for a large body."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, aclosing
from typing import TYPE_CHECKING, NamedTuple, Self, cast

import httpx
import msgspec

from services.fetcher import answers, guard
from services.fetcher.body import Body
from services.fetcher.disk import WAITING_SHARE, Disk
from services.fetcher.failures import translate
from services.fetcher.hosts import PutOff
from services.fetcher.limits import Limits
from services.fetcher.transport import ExactTransport, request
from shared import metrics
from shared.errors import DownloadError, PermanentError, Reason, TransientError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from types import TracebackType

    from shared.settings import Settings
    from shared.urls import Url

USER_AGENT = "Bowerbird/0.1 (image downloader)"
_HEADERS = {
    "user-agent": USER_AGENT,
    "accept": "image/*,text/html;q=0.9,*/*;q=0.8",
    "accept-encoding": "identity",
}


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """What an origin gave. `status` is 304 only if validators were sent, and the body is then empty.

    The body is whoever's who gets this to close. `final_url` is where redirects led. `content_type` is what the origin claims, for
    telling pages from other things that aren't images; `etag` and `last_modified` are for asking again.
    """

    final_url: str
    status: int
    body: Body
    content_type: str | None = None
    etag: str | None = None
    last_modified: str | None = None


class _Work(NamedTuple):
    """A download under way: where its bytes go, and when it must be done."""

    body: Body
    deadline: asyncio.Timeout


class Downloader:
    """Downloads within limits, over connections that the guard has seen. How many at once is the caller's to limit."""

    def __init__(
        self,
        settings: Settings,
        *,
        lookup: guard.Lookup | None = None,
        tls: ssl.SSLContext | None = None,
        limits: Limits = Limits(),  # noqa: B008  (frozen)
        make_body: Callable[[], Body] = Body,
    ) -> None:
        self._settings = settings
        self._lookup = lookup
        self._tls = tls
        self._limits = limits
        self._make_body = make_body
        self._disk = Disk(max(settings.fetch_disk, settings.max_image_bytes), waiting=settings.fetch_concurrency // WAITING_SHARE)
        self._guard = guard.Guard.of(settings)
        self._ports = frozenset(port for ports in settings.fetch_ports for port in ports)

    async def __aenter__(self) -> Self:
        lookups = guard.LOOKUPS_FOR_EACH * self._settings.fetch_concurrency
        connector = guard.connector(self._guard, self._lookup, lookups=lookups, dns_timeout=self._limits.dns)
        self._transport = ExactTransport(connector, self._tls or httpx.create_ssl_context(), self._limits)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._transport.aclose()

    async def download(self, url: Url, *, etag: str | None = None, last_modified: str | None = None) -> Download:
        """Downloads a URL, redirects included, within `fetch_timeout` seconds and `max_image_bytes` bytes.

        With a validator of an earlier copy the origin is asked only for something newer (RFC 9110, section 13), and the
        Download's status may be 304. Raises DownloadError: what each reason means is in failures.py and answers.py; or PutOff.
        """
        headers = _HEADERS | {
            name: value for name, value in (("if-none-match", etag), ("if-modified-since", last_modified)) if value and answers.is_field_value(value)
        }
        try:
            with ExitStack() as closing:
                async with asyncio.timeout(self._settings.fetch_timeout) as deadline:
                    found = await self._follow(url, headers, _Work(closing.enter_context(self._make_body()), deadline))
                closing.pop_all()
                return found
        except TimeoutError:
            raise TransientError(Reason.TIMEOUT, f"The download was not done after {self._settings.fetch_timeout:g} s.") from None
        except (DownloadError, PutOff):
            raise
        except Exception as error:
            raise translate(error) from error

    async def _follow(self, url: Url, headers: dict[str, str], work: _Work) -> Download:
        seen = {url.href}
        while True:
            async with aclosing(await self._ask(url, headers)) as response:
                if response.status_code not in answers.REDIRECTS:
                    return await self._take(url, response, work, conditional=len(headers) > len(_HEADERS))
                url = answers.target(url, response, ports=self._ports, allow_downgrade=self._settings.fetch_downgrade)
            if url.href in seen:
                raise PermanentError(Reason.REDIRECT, "The origin redirects in a circle.")
            if len(seen) > self._limits.redirects:
                raise PermanentError(Reason.REDIRECT, f"The origin redirects more than {self._limits.redirects} times.")
            seen.add(url.href)

    async def _ask(self, url: Url, headers: dict[str, str]) -> httpx.Response:
        self._check(url)
        try:
            async with asyncio.timeout(self._limits.answer):
                return await self._transport.handle_async_request(request("GET", url, headers))
        except TimeoutError:
            raise TransientError(Reason.TIMEOUT, "The origin did not answer in time.") from None

    def _check(self, url: Url) -> None:
        self._guard.check(url)
        # A URL may have waited in a queue for long, and the setting may have changed since it was accepted.
        if url.port not in self._ports:
            raise PermanentError(Reason.BLOCKED, f"Port {url.port} is not among those that may be asked.")

    async def _take(self, url: Url, response: httpx.Response, work: _Work, *, conditional: bool) -> Download:
        if not (conditional and response.status_code == answers.NOT_MODIFIED):
            answers.check_status(response)
            answers.check_body(response, self._settings.max_image_bytes)
        await self._read(response, work)
        return Download(
            final_url=url.href,
            status=response.status_code,
            body=work.body,
            content_type=answers.field(response, "content-type"),
            etag=answers.field(response, "etag"),
            last_modified=answers.field(response, "last-modified"),
        )

    async def _read(self, response: httpx.Response, work: _Work) -> None:
        limit, body = self._settings.max_image_bytes, work.body
        try:
            # The transport's own stream, without httpx's counting and cutting around it: both are done here.
            async for chunk in cast("httpx.AsyncByteStream", response.stream):
                if body.size + len(chunk) > limit:
                    raise answers.too_large(limit)
                if body.needs_room_for(len(chunk)):
                    await self._make_room(work, answers.expected_length(response, limit))
                body.add(chunk)
        except (DownloadError, PutOff):
            raise
        except Exception as error:
            raise translate(error, in_body=True) from error
        finally:
            metrics.DOWNLOADED_BYTES.inc(body.size)

    async def _make_room(self, work: _Work, size: int) -> None:
        """Waits, while the clock of the download stands still: that there is no room is not the origin's fault."""
        loop, due = asyncio.get_running_loop(), work.deadline.when()
        began = loop.time()
        work.deadline.reschedule(None)
        try:
            work.body.move_to_disk(await self._disk.room(size))
        finally:
            work.deadline.reschedule(due + loop.time() - began if due is not None else None)
