"""What the list of images can be narrowed to, from query parameters, read strictly."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from services.api.http import parameters
from shared import urls
from shared.batches import BATCH_ID
from shared.errors import UrlRefused
from shared.listing import FORMATS, Filters
from shared.status import Status

if TYPE_CHECKING:
    from collections.abc import Collection

NAMES = Filters.__struct_fields__
_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def read(given: dict[str, str]) -> Filters:
    """The filters among the parameters. Raises Problem, which names the one that can't be."""
    status = _one_of(given, "status", [*Status])
    return Filters(
        status=Status(status) if status else None,
        host=_host(given),
        format=_one_of(given, "format", FORMATS),
        page=_id(given, "page", urls.IMAGE_ID),
        batch=_id(given, "batch", BATCH_ID),
        added_after=_time(given, "added_after"),
        added_before=_not_cut_off(_time(given, "added_before")),
    )


def _one_of(given: dict[str, str], name: str, words: Collection[str]) -> str | None:
    text = given.get(name)
    if text is not None and text not in words:
        parameters.refuse(name, f"{name} must be one of {', '.join(words)}, not {text[:64]!r}.")
    return text


def _host(given: dict[str, str]) -> str | None:
    """As URLs have it: example.com, [::1], with whatever spelling a URL may have."""
    text = given.get("host")
    if text is None:
        return None
    try:
        # "//" and "/" would begin a path, "@" end a user, ":" begin a port.
        if re.search(r"[/\\?#@]|:[0-9]*$", text):
            raise UrlRefused("url-host", "")
        return urls.parse(f"http://{text}/").host
    except UrlRefused:
        parameters.refuse("host", f"host must be a host's name or address without a port, such as example.com, not {text[:64]!r}.")


def _id(given: dict[str, str], name: str, pattern: re.Pattern[str]) -> str | None:
    text = given.get(name)
    if text is not None and not pattern.fullmatch(text):
        parameters.refuse(name, f"{name} must be a {name}'s id, not {text[:64]!r}.")
    return text


def _time(given: dict[str, str], name: str) -> datetime | None:
    text = given.get(name)
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None or not _EARLIEST <= time <= _LATEST:
            raise ValueError
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        parameters.refuse(
            name, f"{name} must be a time with its offset as in RFC 3339, such as 2026-01-31T12:00:00Z (a + is written %2B), not {text[:64]!r}."
        )


def _not_cut_off(before: datetime | None) -> datetime | None:
    """The next whole millisecond: MongoDB would take the one before, and leave out what was added in it."""
    beyond = timedelta(microseconds=before.microsecond) % _MILLISECOND if before else None
    return before + _MILLISECOND - beyond if before and beyond and before < _LATEST - _MILLISECOND else before
