"""Where an image is on its way (ARCHITECTURE.md draws it), and the time as MongoDB keeps it."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum


class Status(StrEnum):
    """The outcome of the latest download, or how far it has come. A copy of before is readable in each of them."""

    QUEUED = "queued"
    DELAYED = "delayed"
    STORED = "stored"
    FAILED = "failed"
    EXPANDED = "expanded"


WAITING = (Status.QUEUED, Status.DELAYED)
SETTLED = (Status.STORED, Status.FAILED, Status.EXPANDED)


def now() -> datetime:
    """The time as MongoDB keeps it: in whole milliseconds."""
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)
