"""Retry-After, both forms of RFC 9110, section 10.2.3."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MOST = 366 * 86_400.0
"""Seconds. Who asks for more gets this; the caller has a cap of its own, far below."""

_SECONDS = re.compile(r"[0-9]+")
_DIGITS = 9
_LONGEST_DATE = 40


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait from `now` (aware), from 0 to MOST; None if the field is missing or means nothing."""
    if value is None:
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        # Python refuses to read very long numbers, and such a one is over MOST anyway.
        return MOST if len(text.lstrip("0")) > _DIGITS else min(float(text), MOST)
    if len(text) > _LONGEST_DATE:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    # Two of the three date forms name their zone as GMT; asctime's has none and means the same.
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), MOST)
