"""What the fetcher does for those who asked to be told: POSTs a signed message, and says what came of it.

What counts as delivered, and what is tried again, is as the Standard Webhooks specification has it ("Delivery success and failure"): a status
from 200 to 299 is a success, 410 the end, and everything else a failure that may pass, redirects (which are not followed) included. The body of an
answer is nobody's business: shown to whoever listed a delivery, it would let them read what only this machine can reach.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import logging
import random
import time
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

import httpx
import msgspec

from services.fetcher import answers, guard, signatures
from services.fetcher.failures import translate
from services.fetcher.hosts import LONGEST_SECONDS, NEAR_SECONDS, Hosts, PutOff
from services.fetcher.limits import Limits
from services.fetcher.retry_after import retry_after
from services.fetcher.transport import HREF, ExactTransport
from shared import metrics, retry, urls
from shared.broker import Publication
from shared.errors import DownloadError, PermanentError, Reason, TransientError, UrlRefused
from shared.events import CallbackAttempted

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence
    from types import TracebackType

    from shared.events import CallbackRequested
    from shared.settings import Settings
    from shared.urls import Url

log = logging.getLogger("bowerbird.fetcher")

PREFETCH = 20
"""Callbacks under way at once in one fetcher; a window of their own, so that slow receivers take no download's place."""
PER_HOST = 5
ATTEMPT_SECONDS = 15.0
"""Until the head of the answer: the least that the specification recommends."""
DRAIN_BYTES = 64 * 1024
DRAIN_SECONDS = 1.0
"""A short answer is read, so that its connection can be used again."""

_HEADERS = {"content-type": "application/json", "user-agent": "Bowerbird/0.1 (webhooks)", "accept": "*/*", "accept-encoding": "identity"}
_GONE = 410
_SUCCESSES = range(200, 300)
_REDIRECTIONS = range(300, 400)


class Answer(msgspec.Struct, frozen=True):
    """What a receiver said. `retry_after` is in seconds."""

    status: int
    retry_after: float | None = None

    @property
    def failure(self) -> DownloadError | None:
        """What it means, unless that is success."""
        if self.status in _SUCCESSES:
            return None
        known = http.HTTPStatus(self.status).phrase if self.status in http.HTTPStatus._value2member_map_ else ""
        said = f"The receiver answered {self.status}{' ' + known if known else ''}"
        if self.status == _GONE:
            return PermanentError(Reason.HTTP_STATUS, f"{said}: it wants no more of these.")
        if self.status in _REDIRECTIONS:
            return TransientError(Reason.REDIRECT, f"{said}: redirects are not followed.", retry_after=self.retry_after)
        return TransientError(Reason.HTTP_STATUS, f"{said}.", retry_after=self.retry_after)


class Callbacks:
    """The subscriber for callbacks, over connections of its own that the guard has seen."""

    def __init__(
        self,
        settings: Settings,
        *,
        lookup: guard.Lookup | None = None,
        tls: ssl.SSLContext | None = None,
        limits: Limits = Limits(),  # noqa: B008  (frozen)
        attempt_seconds: float = ATTEMPT_SECONDS,
    ) -> None:
        self._settings = settings
        self._lookup = lookup
        self._tls = tls
        self._limits = limits
        self._attempt_seconds = attempt_seconds
        self._guard = guard.Guard.of(settings)
        self._hosts = Hosts(PER_HOST)
        metrics.OPEN_BREAKERS["callbacks",].set_function(self._hosts.open_breakers)

    async def __aenter__(self) -> Self:
        lookup = self._lookup or guard.SystemLookup(guard.LOOKUPS_FOR_EACH * PREFETCH)
        connector = guard.connector(self._guard, lookup, dns_timeout=self._limits.dns)
        self._transport = ExactTransport(connector, self._tls or httpx.create_ssl_context(), self._limits)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._transport.aclose()

    async def on_callback_requested(self, request: CallbackRequested) -> Sequence[Publication]:
        """One attempt: callback-attempted, and the next request unless that was the last; or the same request, later."""
        if request.not_before and (early := (request.not_before - datetime.now(UTC)).total_seconds()) > NEAR_SECONDS:
            # No further than a turn is promised, whatever another machine's clock says.
            return [self._later(request, min(early, LONGEST_SECONDS))]
        started = time.monotonic()
        answer, failure = None, None
        try:
            answer = await self._ask(request)
            failure = answer.failure
        except PutOff as error:
            metrics.PUT_OFF["callbacks",].inc()
            promised = datetime.now(UTC) + timedelta(seconds=error.seconds)
            return [self._later(msgspec.structs.replace(request, not_before=promised), error.seconds)]
        except DownloadError as error:
            failure = error
        return self._outcome(request, answer, failure, round((time.monotonic() - started) * 1000))

    def _later(self, request: CallbackRequested, seconds: float) -> Publication:
        return Publication(request, *retry.put_off(seconds, self._settings.retry_delays))

    async def _ask(self, request: CallbackRequested) -> Answer:
        """Raises PutOff and DownloadError."""
        try:
            # Parsed again: what comes from a queue is no more to be trusted than what came over HTTP.
            url = urls.parse(request.url, ports=self._settings.fetch_ports)
        except UrlRefused as error:
            raise PermanentError(Reason.BLOCKED, error.detail) from error
        self._guard.check(url)
        last = retry.is_last(attempt=request.attempt, snoozes=request.snoozes, delays=self._settings.retry_delays)
        async with self._hosts[f"{url.host}:{url.port}"].turn(last=last):
            return await self._post(url, request)

    async def _post(self, url: Url, request: CallbackRequested) -> Answer:
        body = request.payload.encode()
        headers = {"host": url.authority, **_HEADERS, **signatures.headers(request.delivery, int(time.time()), body, self._settings.webhook_secret)}
        message = httpx.Request("POST", url.href, headers=headers, content=body, extensions={HREF: url.href})
        try:
            async with asyncio.timeout(self._attempt_seconds):
                response = await self._transport.handle_async_request(message)
        except TimeoutError:
            raise TransientError(Reason.TIMEOUT, f"The receiver did not answer in time, which is {self._attempt_seconds:g} s.") from None
        except Exception as error:
            raise _of_a_receiver(translate(error)) from error
        async with aclosing(response):
            await _drain(response)
        return Answer(response.status_code, retry_after(answers.field(response, "retry-after"), datetime.now(UTC)))

    def _outcome(self, request: CallbackRequested, answer: Answer | None, failure: DownloadError | None, took_ms: int) -> Sequence[Publication]:
        now = datetime.now(UTC)
        attempted = CallbackAttempted(
            image=request.image, revision=request.revision, attempt=request.attempt, replay=request.replay, delivery=request.delivery,
            attempted_at=now, took_ms=took_ms, http_status=answer.status if answer else None,
        )  # fmt: skip
        if failure is None:
            metrics.CALLBACKS["delivered", ""].observe(took_ms / 1000)
            return [Publication(attempted)]
        again = retry.decide(failure, attempt=request.attempt, snoozes=request.snoozes, delays=self._settings.retry_delays, uniform=random.random)
        metrics.CALLBACKS["delayed" if again else "failed", failure.reason].observe(took_ms / 1000)
        attempted = msgspec.structs.replace(
            attempted, reason=failure.reason, detail=failure.detail, next_attempt_at=now + timedelta(seconds=again.wait) if again else None
        )
        log.info("not called back", extra={**msgspec.structs.asdict(attempted), "url": urls.without_query(request.url)})
        if not again:
            return [Publication(attempted)]
        metrics.RETRIES["callbacks", failure.reason].inc()
        following = msgspec.structs.replace(request, attempt=request.attempt + 1, snoozes=request.snoozes + again.snoozed, not_before=None)
        return [Publication(attempted), Publication(following, delay=again.delay, wait=again.wait)]


def _of_a_receiver(error: DownloadError) -> DownloadError:
    """The error of a download as that of a callback: everything but a refusal of ours may be mended, a name or a certificate too."""
    detail = error.detail.replace("origin", "receiver")
    if error.reason is Reason.BLOCKED:
        return PermanentError(error.reason, detail)
    return TransientError(error.reason, detail)


async def _drain(response: httpx.Response) -> None:
    """Reads a short answer; what becomes of it, after its status, changes nothing."""
    size = 0
    with contextlib.suppress(Exception):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for chunk in response.aiter_raw():
                size += len(chunk)
                if size > DRAIN_BYTES:
                    break
