"""What the fetcher does with a request: downloads, recognises, and says what came of it."""

from __future__ import annotations

import logging
import random
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from services.fetcher import answers
from services.fetcher.hosts import LONGEST_SECONDS, NEAR_SECONDS, Hosts, PutOff
from services.fetcher.parts import Parts
from services.fetcher.scanning import Scanner, is_page
from shared import metrics, retry, urls
from shared.broker import Publication
from shared.errors import DownloadError, PermanentError, Reason, UrlRefused
from shared.events import DownloadDelayed, DownloadFailed, ImageFetched, ImageUnchanged, PageScanned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.fetcher.download import Download, Downloader
    from services.fetcher.recognise import Recogniser
    from shared.broker import Publisher
    from shared.events import DownloadRequested
    from shared.settings import Settings

log = logging.getLogger("bowerbird.fetcher")


class Handlers:
    """The fetcher's subscriber."""

    def __init__(self, downloader: Downloader, recogniser: Recogniser, settings: Settings, publisher: Publisher) -> None:
        self._downloader = downloader
        self._recogniser = recogniser
        self._settings = settings
        self._parts = Parts(publisher)
        self._scanner = Scanner(recogniser.sandbox, settings)
        self._hosts = Hosts(settings.host_concurrency)
        metrics.OPEN_BREAKERS["downloads",].set_function(self._hosts.open_breakers)

    async def on_download_requested(self, request: DownloadRequested) -> Sequence[Publication]:
        """One attempt: image-fetched, page-scanned or image-unchanged; or download-delayed and the next request; or download-failed; or the same request, later."""
        if request.not_before and (early := (request.not_before - datetime.now(UTC)).total_seconds()) > NEAR_SECONDS:
            # No further than a turn is promised, whatever another machine's clock says.
            return [self._later(request, min(early, LONGEST_SECONDS))]
        started = time.monotonic()
        try:
            outcome = await self._fetch(request, started)
            metrics.FETCHES[outcome.NAME, ""].observe(time.monotonic() - started)
            return [Publication(outcome)]
        except PutOff as error:
            metrics.PUT_OFF["downloads",].inc()
            promised = datetime.now(UTC) + timedelta(seconds=error.seconds)
            return [self._later(msgspec.structs.replace(request, not_before=promised), error.seconds)]
        except DownloadError as error:
            return self._failed(request, error, _milliseconds(started))

    def _later(self, request: DownloadRequested, seconds: float) -> Publication:
        return Publication(request, *retry.put_off(seconds, self._settings.retry_delays))

    async def _fetch(self, request: DownloadRequested, started: float) -> ImageFetched | PageScanned | ImageUnchanged:
        try:
            # Parsed again: what comes from a queue is no more to be trusted than what came over HTTP.
            url = urls.parse(request.url, ports=self._settings.fetch_ports)
        except UrlRefused as error:
            raise PermanentError(Reason.BLOCKED, error.detail) from error
        last = retry.is_last(attempt=request.attempt, snoozes=request.snoozes, delays=self._settings.retry_delays)
        async with self._hosts[f"{url.host}:{url.port}"].turn(last=last):
            copy = await self._downloader.download(url, etag=request.etag, last_modified=request.last_modified)
        with copy.body:
            if copy.status == answers.NOT_MODIFIED:
                return _unchanged(request, copy, started)
            if is_page(copy):
                return await self._scanned(request, copy, started)
            return await self._fetched(request, copy, started)

    async def _fetched(self, request: DownloadRequested, copy: Download, started: float) -> ImageFetched:
        with metrics.Timed(metrics.RECOGNISED):
            image, body = await self._recogniser.recognise(copy.body), copy.body
        fetched = ImageFetched(
            image=request.image, revision=request.revision, attempt=request.attempt, url=request.url, final_url=copy.final_url,
            fetched_at=datetime.now(UTC), took_ms=_milliseconds(started), format=image.format.lower(), content_type=image.content_type,
            width=image.width, height=image.height, sha256=body.sha256, etag=copy.etag, last_modified=copy.last_modified, body=body.content or b"",
        )  # fmt: skip
        if body.content is not None:
            return fetched
        return msgspec.structs.replace(fetched, file=await self._parts.publish(request, body), parts=body.parts, size=body.size)

    async def _scanned(self, request: DownloadRequested, copy: Download, started: float) -> PageScanned:
        page = await self._scanner.scan(copy)
        return PageScanned(
            image=request.image, revision=request.revision, attempt=request.attempt, url=request.url, final_url=copy.final_url,
            scanned_at=datetime.now(UTC), took_ms=_milliseconds(started), images=page.images, alternatives=page.alternatives,
            skipped=page.skipped, refused=page.refused, beyond=page.beyond, etag=copy.etag, last_modified=copy.last_modified,
        )  # fmt: skip

    def _failed(self, request: DownloadRequested, error: DownloadError, took_ms: int) -> Sequence[Publication]:
        now = datetime.now(UTC)
        again = retry.decide(error, attempt=request.attempt, snoozes=request.snoozes, delays=self._settings.retry_delays, uniform=random.random)
        failed = DownloadFailed(
            image=request.image, revision=request.revision, attempt=request.attempt,
            reason=error.reason, detail=error.detail, failed_at=now, took_ms=took_ms,
        )  # fmt: skip
        metrics.FETCHES[DownloadDelayed.NAME if again else DownloadFailed.NAME, error.reason].observe(took_ms / 1000)
        facts = msgspec.structs.asdict(failed)
        log.info("not downloaded", extra={**facts, "url": urls.without_query(request.url), "again_in": again and again.wait})
        if not again:
            return [Publication(failed)]
        metrics.RETRIES["downloads", error.reason].inc()
        following = msgspec.structs.replace(request, attempt=request.attempt + 1, snoozes=request.snoozes + again.snoozed, not_before=None)
        return [
            Publication(DownloadDelayed(**facts, next_attempt_at=now + timedelta(seconds=again.wait))),
            Publication(following, delay=again.delay, wait=again.wait),
        ]


def _unchanged(request: DownloadRequested, copy: Download, started: float) -> ImageUnchanged:
    """With the validators of the 304, if it has them (RFC 9110, section 15.4.5), else with those that were asked with."""
    return ImageUnchanged(
        image=request.image, revision=request.revision, attempt=request.attempt, checked_at=datetime.now(UTC), took_ms=_milliseconds(started),
        etag=copy.etag or request.etag, last_modified=copy.last_modified or request.last_modified,
    )  # fmt: skip


def _milliseconds(since: float) -> int:
    return round((time.monotonic() - since) * 1000)
