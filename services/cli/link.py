"""HTTP to one api. Whatever goes wrong becomes a Failure that says what to do next."""

from __future__ import annotations

import copy
import ipaddress
import re
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httpx

from services.cli.errors import Damaged, Failure, Refused, Unavailable, Unknown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.cli.patience import Patience

Json = dict[str, Any]

TIMEOUT = httpx.Timeout(60.0, connect=5.0)
PROBLEM = "application/problem+json"
# Answers that concern what was named, not the client or the api as a whole.
_REFUSALS = {HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}
_LATER = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}


class Link:
    """Requests to one api, from any thread. `transport` replaces the network."""

    def __init__(self, url: httpx.URL, key: str | None = None, *, transport: httpx.BaseTransport | None = None) -> None:
        self.shown = str(url.copy_with(userinfo=b""))
        self._key = key
        self._patience: Patience | None = None
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            # A proxy from the environment is for other machines.
            self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT, trust_env=not _loopback(url.host), transport=transport)
        except (ValueError, ImportError) as error:
            raise Failure(f"The proxy that the environment names (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) can't be used: {error}") from None

    def patient(self, patience: Patience) -> Link:
        """The same link, on which what isn't answered is repeated."""
        link = copy.copy(self)
        link._patience = patience  # noqa: SLF001  (one of its own kind)
        return link

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    def ask(self, method: str, path: str, **more: Any) -> Json:  # noqa: ANN401
        """The JSON object that a request is answered with, empty for none."""
        return self.answer(method, path, **more)[0]

    def answer(self, method: str, path: str, **more: Any) -> tuple[Json, httpx.Headers]:  # noqa: ANN401
        """As `ask`, with the answer's headers."""
        return self._patience(lambda: self._answer(method, path, **more)) if self._patience else self._answer(method, path, **more)

    def _answer(self, method: str, path: str, **more: Any) -> tuple[Json, httpx.Headers]:  # noqa: ANN401
        with self._translated():
            answer = self._http.request(method, path, **more)
        if not answer.is_success:
            raise self._failure(answer)
        if answer.status_code == HTTPStatus.NO_CONTENT:
            return {}, answer.headers
        found = _json(answer)
        if found is None:
            raise self.stranger(_kind(answer))
        return found, answer.headers

    @contextmanager
    def stream(self, path: str) -> Iterator[tuple[httpx.Headers, Iterator[bytes]]]:
        """The headers of what is at a path, and its bytes as they come."""
        with self._translated(), self._http.stream("GET", path, headers={"Accept-Encoding": "identity"}) as answer:
            if answer.status_code != HTTPStatus.OK:
                answer.read()
                raise self._failure(answer)
            yield answer.headers, self._body(answer)

    def stranger(self, what: str) -> Failure:
        """Something else answers there."""
        return Failure(f"What answers at {self.shown} isn't Bowerbird's api ({what}). Name the api with --url.")

    def _body(self, answer: httpx.Response) -> Iterator[bytes]:
        try:
            yield from answer.iter_bytes()
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.DecodingError) as error:
            raise Damaged(f"The api at {self.shown} broke off in the middle ({error}). Try again.") from None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectTimeout:
            raise self._unreachable(f"no connection within {TIMEOUT.connect:g} s") from None
        except httpx.TimeoutException:
            fact = f"The api at {self.shown} didn't answer within {TIMEOUT.read:g} s."
            raise Unavailable(fact, "What was asked for may yet happen.") from None
        except (httpx.TransportError, UnicodeError) as error:  # UnicodeError: a host name that can't be one
            raise self._unreachable(str(error) or type(error).__name__) from None

    def _failure(self, answer: httpx.Response) -> Failure:
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            if self._key:
                return Failure(f"The api at {self.shown} doesn't know this key. Is it one of its BOWERBIRD_API_KEYS?")
            return Failure(f"The api at {self.shown} wants a key: set BOWERBIRD_KEY, or pass it with --key.")
        if answer.is_redirect:
            return Failure(f"{self.shown} leads on to {answer.headers.get('location')}; name the api's own address with --url.")
        if not answer.headers.get("content-type", "").startswith(PROBLEM):
            return self.stranger(_kind(answer))
        return self._problem(answer.status_code, _json(answer) or {}, answer.headers.get("retry-after"))

    def _problem(self, status: int, problem: Json, pause: str | None) -> Failure:
        sentence = str(problem.get("detail") or problem.get("title"))
        if status == HTTPStatus.NOT_FOUND:
            return Unknown(sentence)
        if status in _REFUSALS:
            return Refused(sentence)
        if status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _LATER:
            return Failure(f"The api at {self.shown} refused ({status}): {sentence}")
        fact = f"The api at {self.shown} failed ({status}): {sentence}"
        if status not in _LATER or not pause:
            return Failure(f"{fact} Its log says more, under {problem.get('instance')}.")
        return Unavailable(fact, f"Try again in {pause} s.", pause=float(pause) if re.fullmatch("[0-9]{1,6}", pause) else None)

    def _unreachable(self, why: str) -> Unavailable:
        return Unavailable(f"The api at {self.shown} can't be reached ({why}).", "Is it running? `make up` starts it; or name another with --url.")


def _kind(answer: httpx.Response) -> str:
    return f"{answer.status_code}, {answer.headers.get('content-type', 'no type')}"


def _json(answer: httpx.Response) -> Json | None:
    try:
        found = answer.json()
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
