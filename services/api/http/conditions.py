"""Conditional requests (RFC 9110, section 13): If-None-Match, If-Modified-Since and If-Range. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from wsgiref.handlers import format_date_time

# An opaque tag as section 8.8.3 has it; what precedes it (W/) doesn't matter to a weak comparison.
_OPAQUE_TAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')


def not_modified(etag: str, modified: datetime, *, if_none_match: str | None, if_modified_since: str | None) -> bool:
    """Whether the client's copy is still the current one, so that the answer is 304. `etag` comes with its quotes.

    With If-None-Match, If-Modified-Since isn't looked at (section 13.1.3). A date that can't be read counts as absent.
    """
    if if_none_match is not None:
        return if_none_match.strip() == "*" or etag in _OPAQUE_TAG.findall(if_none_match)
    since = _date(if_modified_since)
    return since is not None and _seconds(modified) <= since


def range_applies(etag: str, modified: datetime, if_range: str | None) -> bool:
    """Whether Range is to be obeyed: when the client's part is of the current content (section 13.1.5, a strong comparison)."""
    if if_range is None:
        return True
    if '"' in if_range:
        return if_range.strip() == etag
    return _date(if_range) == _seconds(modified)


def http_date(time: datetime) -> str:
    """A time as in Last-Modified (section 5.6.7)."""
    return format_date_time(time.timestamp())


def _seconds(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(microsecond=0)


def _date(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        date = parsedate_to_datetime(text[:64])
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
