"""The HTTP API as the commands see it. Whatever goes wrong becomes a Failure that says what to do next."""

from __future__ import annotations

import ipaddress
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import httpx

from services.cli.errors import Failure, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, Any]
Status = Literal["queued", "delayed", "failed"]

PAGE = 500
TIMEOUT = httpx.Timeout(60.0, connect=5.0)
PROBLEM = "application/problem+json"
_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")


class Api:
    """A client of one api. `transport` replaces the network."""

    def __init__(self, url: httpx.URL, key: str | None = None, *, transport: httpx.BaseTransport | None = None) -> None:
        self._shown = str(url.copy_with(userinfo=b""))
        self._key = key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            # A proxy from the environment is for other machines.
            self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT, trust_env=not _loopback(url.host), transport=transport)
        except (ValueError, ImportError) as error:
            raise Failure(f"The proxy that the environment names (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) can't be used: {error}") from None

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    def dead_letters(self) -> Iterator[Json]:
        """All dead letters, newest first, a page at a time."""
        query = f"limit={PAGE}"
        while query:
            page = self._ask("GET", f"/dead-letters?{query}")
            items, following = page.get("items"), page.get("next")
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise self._stranger("a list without items")
            yield from items
            # Only its query: `next` may name the api as others reach it, and the key goes nowhere but to --url.
            query = urlsplit(following).query if isinstance(following, str) else ""

    def dead_letter(self, letter: str) -> Json:
        """A dead letter with the beginning of its body."""
        return self._ask("GET", _path(letter))

    def replay(self, letter: str) -> Json:
        """Sends it to its queue again; which one that is."""
        return self._ask("POST", f"{_path(letter)}/replay")

    def delete(self, letter: str) -> None:
        """Forgets it."""
        self._ask("DELETE", _path(letter))

    def requeue(self, status: Status) -> Iterator[int]:
        """Has all images with a status downloaded afresh: how many, a call at a time."""
        request: Json = {"status": status}
        more = True
        while more:
            answer = self._ask("POST", "/requeue", json=request)
            yield int(answer.get("requeued", 0))
            # Those that were requeued may have the same status still, or again.
            request["before"], more = answer.get("before"), bool(answer.get("more"))

    def _ask(self, method: str, path: str, **more: Any) -> Json:  # noqa: ANN401
        try:
            answer = self._http.request(method, path, **more)
        except httpx.ConnectTimeout:
            raise self._unreachable(f"no connection within {TIMEOUT.connect:g} s") from None
        except httpx.TimeoutException:
            raise Failure(f"The api at {self._shown} didn't answer within {TIMEOUT.read:g} s. What was asked for may yet happen.") from None
        except (httpx.TransportError, UnicodeError) as error:  # UnicodeError: a host name that can't be one
            raise self._unreachable(str(error) or type(error).__name__) from None
        if not answer.is_success:
            raise self._failure(answer)
        if answer.status_code == HTTPStatus.NO_CONTENT:
            return {}
        found = _json(answer)
        if found is None:
            raise self._stranger(_kind(answer))
        return found

    def _failure(self, answer: httpx.Response) -> Failure:
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            if self._key:
                return Failure(f"The api at {self._shown} doesn't know this key. Is it one of its BOWERBIRD_API_KEYS?")
            return Failure(f"The api at {self._shown} wants a key: set BOWERBIRD_KEY, or pass it with --key.")
        if answer.is_redirect:
            return Failure(f"{self._shown} leads on to {answer.headers.get('location')}; name the api's own address with --url.")
        if not answer.headers.get("content-type", "").startswith(PROBLEM):
            return self._stranger(_kind(answer))
        return self._problem(answer.status_code, _json(answer) or {}, answer.headers.get("retry-after"))

    def _problem(self, status: int, problem: Json, pause: str | None) -> Failure:
        sentence = str(problem.get("detail") or problem.get("title"))
        if status == HTTPStatus.NOT_FOUND:
            return Refused(sentence)
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return Failure(f"The api at {self._shown} refused ({status}): {sentence}")
        hint = f"Try again in {pause} s." if pause else f"Its log says more, under {problem.get('instance')}."
        return Failure(f"The api at {self._shown} failed ({status}): {sentence} {hint}")

    def _unreachable(self, why: str) -> Failure:
        return Failure(f"The api at {self._shown} can't be reached ({why}). Is it running? `make up` starts it; or name another with --url.")

    def _stranger(self, what: str) -> Failure:
        return Failure(f"What answers at {self._shown} isn't Bowerbird's api ({what}). Name the api with --url.")


def _path(letter: str) -> str:
    if not _ID.fullmatch(letter):
        raise Refused("No dead letter has an id like this.")
    return f"/dead-letters/{letter}"


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
