"""How far batches have come: counts, added up, and the sentences that say so."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.cli.link import Json

WAITING = ("queued", "delayed")
FATES = ("accepted", "known", "repeated", "refused")
WINDOW = 15.0
"""Seconds over which a rate is taken: long enough to be calm, short enough to be true."""


@dataclass
class Tally:
    """Lines by what became of them, images by status, failed ones by reason. `images` has those of pages too."""

    fates: Counter[str] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def lines(self) -> int:
        """Those that were submitted, or would have been."""
        return sum(self.fates.values())

    @property
    def total(self) -> int:
        """Images and pages, of which each is counted once however many lines had it."""
        return sum(self.images.values())

    @property
    def done(self) -> int:
        """Those of them that aren't on their way any more."""
        return self.total - self.left

    @property
    def left(self) -> int:
        """Those that still are."""
        return sum(self.images[status] for status in WAITING)

    @property
    def flawless(self) -> bool:
        """Whether nothing failed, and nothing was refused."""
        return not self.images["failed"] and not self.fates["refused"]

    def json(self) -> Json:
        """For programs."""
        fates = {name: self.fates[name] for name in FATES}
        return {"lines": self.lines, **fates, "images": dict(self.images), "reasons": dict(self.reasons.most_common())}

    def sentence(self) -> str:
        """What became of the images: "478 stored, 12 failed (8 http_status, 4 timeout), 3 pages"."""
        parts = [f"{self.images['stored']:,} stored"]
        if failed := self.images["failed"]:
            parts.append(f"{failed:,} failed{self._why()}")
        if pages := self.images["expanded"]:
            parts.append(f"{pages:,} {'page' if pages == 1 else 'pages'}")
        parts += [f"{self.fates[name]:,} {words}" for name, words in _WORDS.items() if self.fates[name]]
        if delayed := self.images["delayed"]:
            parts.append(f"{delayed:,} to be tried again")
        return ", ".join(parts)

    def _why(self) -> str:
        named = ", ".join(f"{count:,} {reason}" for reason, count in self.reasons.most_common())
        return f" ({named})" if named else ""


_WORDS = {"known": "known before", "repeated": "repeated", "refused": "refused"}


class Pace:
    """How fast it goes on, from how far it has come at which times, in seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, at: float, done: int) -> None:
        """So many are done by now."""
        self._seen.append((at, done))
        # One that is older than the window stays, so that the window is covered.
        while len(self._seen) > 2 and self._seen[1][0] <= at - WINDOW:  # noqa: PLR2004  (the one before the window and the newest)
            self._seen.popleft()

    def rate(self) -> float:
        """Images a second."""
        if len(self._seen) < 2:  # noqa: PLR2004  (a rate is between two)
            return 0.0
        (first, before), (last, now) = self._seen[0], self._seen[-1]
        return max(0.0, (now - before) / (last - first)) if last > first else 0.0

    def left(self, count: int) -> float | None:
        """Seconds until so many more are done, if it goes on like this; None if there is no telling."""
        rate = self.rate()
        return count / rate if rate else None


def lasting(seconds: float) -> str:
    """A duration for people: 40 ms, 0.2 s, 12 s, 3 min, 1 h 5 min."""
    if seconds < 0.1:  # noqa: PLR2004  (below it, tenths say nothing)
        return f"{round(seconds * 1000)} ms"
    if seconds < 1:
        return f"{seconds:.1f} s"
    if seconds < 90:  # noqa: PLR2004  (beyond it, minutes say more)
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 90:  # noqa: PLR2004  (likewise)
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
