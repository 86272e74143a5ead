"""Following batches until none of their images is on its way any more, by asking again and again; the pages among them too."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.cli.client import id_in
from services.cli.errors import Unknown
from services.cli.tally import FATES, WAITING, Tally

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.cli.client import Api
    from services.cli.link import Json

AT_ONCE = 10
"""Batches and pages that are looked at in one round, those first that weren't for longest: a million URLs are a thousand batches."""
REASONS_EVERY = 2.0
"""Seconds after which it is looked up again why images of a batch failed, which is a list, not a count."""


@dataclass
class _Followed:
    """A batch or page: how it was found last."""

    id: str
    is_page: bool
    images: Counter[str] = field(default_factory=Counter)
    fates: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    pages: int = 0
    done: bool = False
    asked_why_at: float = float("-inf")

    @property
    def filter(self) -> dict[str, str]:
        """What its images have in common."""
        return {"page" if self.is_page else "batch": self.id}


class Watch:
    """Batches that are followed. Counts only become right with `look`."""

    def __init__(self, api: Api, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._all: dict[str, _Followed] = {}
        self._open: list[_Followed] = []
        self.unsent: Counter[str] = Counter()
        """Fates of lines that are in no batch."""

    @property
    def batches(self) -> list[str]:
        """Ids of the batches."""
        return [one.id for one in self._all.values() if not one.is_page]

    @property
    def done(self) -> bool:
        """Whether nothing is on its way any more."""
        return not self._open

    def follow(self, batch: Json) -> None:
        """Another batch, as the api answered when it was submitted or asked for."""
        self._note(self._add(str(batch.get("id")), is_page=False), batch)

    def look(self) -> None:
        """Asks how far they have come: those that are longest ago."""
        self._open, looked_at = self._open[AT_ONCE:], self._open[:AT_ONCE]
        for at, one in enumerate(looked_at):
            try:
                self._look_at(one)
            except BaseException:
                self._open += looked_at[at:]
                raise
            if not one.done:
                self._open.append(one)

    def tally(self) -> Tally:
        """What is known of all of them together."""
        tally = Tally(fates=Counter(self.unsent))
        for one in self._all.values():
            tally.fates.update(one.fates)
            tally.images.update(one.images)
            tally.reasons.update(one.reasons)
        return tally

    def _add(self, name: str, *, is_page: bool) -> _Followed:
        one = self._all.get(name)
        if one is None:
            one = self._all[name] = _Followed(name, is_page)
            self._open.append(one)
        return one

    def _look_at(self, one: _Followed) -> None:
        try:
            found = self._api.image(one.id) if one.is_page else self._api.batch(one.id)
        except Unknown:
            if not one.is_page:
                raise
            one.images, one.done = Counter(), True  # deleted meanwhile
            return
        self._note(one, found)
        if one.images["failed"] != sum(one.reasons.values()) and (one.done or self._clock() >= one.asked_why_at + REASONS_EVERY):
            one.asked_why_at = self._clock()
            one.reasons = Counter(_reason(image) for image in self._api.images({**one.filter, "status": "failed"}))
        # Only those of a batch: what is on a page and turns out to be one itself has its images to itself.
        if not one.is_page and one.images["expanded"] != one.pages:
            one.pages = one.images["expanded"]
            for page in self._api.images({**one.filter, "status": "expanded"}):
                if name := id_in(page.get("id")):
                    self._add(name, is_page=True)

    def _note(self, one: _Followed, found: Json) -> None:
        counts = _part(found, "page").get("images") if one.is_page else found.get("images")
        one.images = Counter({str(status): count for status, count in (counts or {}).items() if isinstance(count, int)})
        if one.is_page:
            one.done = found.get("status") not in WAITING and not any(one.images[status] for status in WAITING)
            return
        one.fates = Counter({name: int(found.get(name) or 0) for name in FATES})
        # Without its fates it is still being recorded: by a request that goes on, or one that broke off.
        one.done = found.get("accepted") is not None and not any(one.images[status] for status in WAITING)


def _reason(image: Json) -> str:
    return str(_part(image, "error").get("reason") or "unknown")


def _part(found: Json, name: str) -> Json:
    part = found.get(name)
    return part if isinstance(part, dict) else {}
