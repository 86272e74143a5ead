"""The header Range (RFC 9110, section 14), as far as it is served: a single range of bytes."""

from __future__ import annotations

import re

# Both ends of one range. Without nested repetition, and matched against the whole, it takes linear time.
_BYTES = re.compile(r"bytes=[ \t,]*([0-9]*)-([0-9]*)[ \t,]*", re.IGNORECASE)
_MOST_DIGITS = 18


class Unsatisfiable(ValueError):
    """The range begins beyond the end, or asks for the last 0 bytes: 416."""


def parse(header: str | None, length: int) -> range | None:
    """The positions that a Range header selects from `length` bytes; None when the whole is to be served.

    Which is: without the header, with another unit, with a header that isn't valid, and with several ranges (which a server
    may ignore, section 14.2: nobody needs them of an image, and overlapping ones have been used for attacks). Raises Unsatisfiable.
    """
    found = _BYTES.fullmatch(header) if header else None
    if not found or not (found[1] or found[2]):
        return None
    if not found[1]:
        selected = range(max(0, length - _number(found[2])), length)
    else:
        first = _number(found[1])
        last = _number(found[2]) if found[2] else length - 1
        if found[2] and last < first:
            return None
        selected = range(first, min(last + 1, length))
    if not selected:
        raise Unsatisfiable(f"bytes */{length}")
    return selected


def _number(digits: str) -> int:
    digits = digits.lstrip("0") or "0"
    # Far beyond any length; int() of a header's worth of digits would take quadratic time.
    return int(digits) if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS
