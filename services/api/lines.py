"""The body of POST /batches: many URLs, as JSON, NDJSON or text/uri-list, read as they arrive.

Nothing is recorded before the last of them has come: a request that breaks off, or has too many, has changed nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from codecs import BOM_UTF8
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from services.api.http import bodies, parameters
from services.api.http.problems import BAD_BODY, TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, Problem
from shared.errors import UrlRefused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from litestar import Request

MAX_URLS = 10_000
MAX_LINES = 100_000
"""Comments and empty lines too: each costs some time, however short it is."""
EXAMPLE = '{"urls": ["https://host/a.jpg", "https://host/b.jpg"]}'


class Submissions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """URLs of images or pages."""

    urls: list[str]
    callback_url: str | None = None


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str


class Lines(NamedTuple):
    """What a request has: in each place a URL, or what is wrong with the line. `fingerprint` is the same for the same body."""

    urls: list[str | UrlRefused]
    fingerprint: str
    callback_url: str | None = None


async def read(request: Request[Any, Any, Any]) -> Lines:
    """The URLs of a request. Raises Problem: another media type, no JSON, no URL, too many."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    given = parameters.read(request.scope["query_string"], ("callback_url",))
    try:
        found = await _read_lines(request, _LINES[media_type]) if media_type in _LINES else await _read_json(request)
    except RequestEntityTooLarge:
        await bodies.discard(request)
        raise
    if "callback_url" in given:
        found = found._replace(callback_url=given["callback_url"])
    if not found.urls:
        raise Problem(BAD_BODY, f"The body has no URL. It should look like {EXAMPLE}.")
    if len(found.urls) > MAX_URLS:
        raise _too_many()
    return found


async def _read_json(request: Request[Any, Any, Any]) -> Lines:
    try:
        submissions = await bodies.read(request, Submissions, example=EXAMPLE, check=_check_texts)
    except Problem as problem:
        if problem.kind is UNSUPPORTED_MEDIA_TYPE:
            accepted = ", ".join(("application/json", *_LINES))
            raise Problem(
                UNSUPPORTED_MEDIA_TYPE, f"The header Content-Type must say what the body is: one of {accepted}.", headers={"Accept-Post": accepted}
            ) from None
        raise
    # In a thread: twenty megabytes take long enough that others would wait for it.
    digest = await asyncio.to_thread(hashlib.sha256, await request.body())
    return Lines(list(submissions.urls), digest.hexdigest(), submissions.callback_url)


def _check_texts(body: bytes) -> None:
    """Raises Problem for a body with so many texts that they would take twenty times its size in memory, before they do."""
    # Never more than the quotes that begin or end a text, and half of them at least: a backslash before one may be escaped itself.
    if body.count(b'"') - body.count(b'\\"') > 2 * (MAX_URLS + len(Submissions.__struct_fields__) + 1):
        raise _too_many()


async def _read_lines(request: Request[Any, Any, Any], url_of: Callable[[bytes], str | None]) -> Lines:
    urls: list[str | UrlRefused] = []
    digest = hashlib.sha256()
    count = 0
    body = request.stream()
    async for line in _lines(body, digest.update):
        count += 1
        try:
            url = url_of(line)
        except UrlRefused as error:
            urls.append(error)
        else:
            if url is not None:
                urls.append(url)
        if len(urls) > MAX_URLS or count > MAX_LINES:
            # The rest too: a client that is still sending doesn't see an answer after which the connection is closed.
            async for _ in body:
                pass
            raise _too_many()
    return Lines(urls, digest.hexdigest())


async def _lines(body: AsyncIterator[bytes], see: Callable[[bytes], object]) -> AsyncIterator[bytes]:
    """The lines of a body without their ends, the last one with or without one, and without the mark that some editors begin a text with."""
    mark = BOM_UTF8
    pending: list[bytes] = []
    async for chunk in body:
        see(chunk)
        first, *others = chunk.split(b"\n")
        pending.append(first)
        for line in others:
            yield b"".join(pending).removeprefix(mark).strip()
            mark, pending = b"", [line]
    yield b"".join(pending).removeprefix(mark).strip()


def _of_uri_list(line: bytes) -> str | None:
    """RFC 2483, section 5: a URI a line, and comments."""
    return None if not line or line.startswith(b"#") else _text(line)


def _of_json_line(line: bytes) -> str | None:
    if not line:
        return None
    try:
        found = msgspec.json.decode(line, type=str | _Line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise UrlRefused("line-syntax", 'The line is neither {"url": "https://host/a.jpg"} nor "https://host/a.jpg".') from None
    return found if isinstance(found, str) else found.url


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise UrlRefused("line-syntax", "The line isn't UTF-8.") from None


def _too_many() -> Problem:
    return Problem(
        TOO_LARGE,
        f"A batch has at most {MAX_URLS:,} URLs, in {MAX_LINES:,} lines; nothing of this one was recorded.",
        headers={"Connection": "close"},
    )


_LINES = {
    "text/uri-list": _of_uri_list,
    **dict.fromkeys(("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"), _of_json_line),
}
