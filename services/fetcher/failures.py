"""The boundary at which errors of aiohttp, httpx, ssl and the system become this project's.

| what happened | reason | may pass |
|---|---|---|
| the guard refused the address | blocked | no |
| no such name / DNS failed or was late | dns | no / yes (guard.py) |
| connection refused, reset, closed before the answer | connect | yes |
| the answer isn't HTTP, or its header is too large | connect | no |
| the certificate or the handshake is bad | tls | no |
| any time limit | timeout | yes |
| the body ended before its length, or its chunks are broken | truncated | yes |

Details are sentences of our own: what a library says may name addresses inside. Nor is it logged, since it may quote a URL whose query is a secret.
"""

from __future__ import annotations

import logging
import ssl
import traceback

import aiohttp
import httpx

from services.fetcher.guard import AddressBlocked, blocked
from shared.errors import DownloadError, PermanentError, Reason, TransientError

_log = logging.getLogger("bowerbird.fetcher")

_TLS = (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError, ssl.SSLError, ssl.CertificateError)
_NETWORK = (aiohttp.ClientConnectionError, httpx.TransportError, OSError)
_NOT_HTTP = (aiohttp.ClientResponseError, aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)


def translate(error: Exception, *, in_body: bool = False) -> DownloadError:  # noqa: PLR0911  (a table, read from the top)
    """What an exception means for the download. `in_body`: the header had come, the body was being read."""
    if isinstance(error, DownloadError):
        return error
    if _has_cause(error, AddressBlocked):
        return blocked()
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return TransientError(Reason.TIMEOUT, "The origin took too long.")
    if isinstance(error, _TLS):
        return PermanentError(Reason.TLS, "No secure connection: the origin's certificate or its TLS is not valid.")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return TransientError(Reason.DNS, "The host's name could not be resolved.")
    if isinstance(error, aiohttp.ClientPayloadError):
        return _truncated()
    if isinstance(error, _NOT_HTTP):
        return PermanentError(Reason.CONNECT, "The origin's answer is not valid HTTP, or its header is too large.")
    if isinstance(error, _NETWORK):
        return _truncated() if in_body else TransientError(Reason.CONNECT, "The origin can't be connected to.")
    # Something that a hostile origin got out of a library, or a mistake of ours: the log must show which.
    _log.error("unforeseen failure of a download", extra={"errors": _kinds(error), "where": traceback.format_tb(error.__traceback__)})
    return _truncated() if in_body else TransientError(Reason.CONNECT, "The connection failed in an unforeseen way.")


def _truncated() -> TransientError:
    return TransientError(Reason.TRUNCATED, "The origin ended the connection before the end of the body.")


def _kinds(error: BaseException | None) -> list[str]:
    found = []
    while error is not None:
        found.append(f"{type(error).__module__}.{type(error).__qualname__}")
        error = error.__cause__ or error.__context__
    return found


def _has_cause(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__
    return False
