"""The header `traceparent` of W3C Trace Context (https://www.w3.org/TR/trace-context/): read, and written.

Nothing else of Trace Context is read: `tracestate` and `baggage` are free text of others, and of no use here.
"""

from __future__ import annotations

import re
from typing import NamedTuple

NAME = "traceparent"
MAX_LENGTH = 256
"""Of a version that is not written yet; that of version 00 is 55."""

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_SAMPLED = 1


class TraceParent(NamedTuple):
    """A span of somebody's, and whether its trace is being recorded."""

    trace: int
    span: int
    sampled: bool

    def __str__(self) -> str:
        return f"00-{self.trace:032x}-{self.span:016x}-{_SAMPLED if self.sampled else 0:02x}"


def parse(text: object) -> TraceParent | None:
    """What a header says; None for whatever isn't valid (section 3.2.2), which is then as if it weren't there (section 4.3)."""
    if not isinstance(text, str) or len(text) > MAX_LENGTH:
        return None
    found = _FORM.fullmatch(text)
    if not found:
        return None
    version, trace, span, flags, rest = found.groups()
    # Version 00 ends here, later ones may go on after a dash; ff is forbidden.
    if version == "ff" or (version == "00" and rest):
        return None
    if not int(trace, 16) or not int(span, 16):
        return None
    return TraceParent(int(trace, 16), int(span, 16), bool(int(flags, 16) & _SAMPLED))
