"""Submitting URLs in batches, each with a key of its own, so that a request whose answer was lost can be repeated without harm."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from services.cli.client import id_in
from services.cli.gathering import gathered
from services.cli.sources import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from services.cli.client import Api
    from services.cli.link import Json
    from services.cli.watching import Watch

BATCH = 1000
"""Lines in one request: some tens of milliseconds' work for the api."""
REFRESHES_AT_ONCE = 8
BETWEEN = 0.5
"""Seconds between two looks at what is under way, while there is still something to submit."""


class Fate(NamedTuple):
    """What became of a line: `image` is its id, `detail` why it was refused."""

    outcome: str
    image: str
    url: str
    detail: str


class Submission:
    """Lines on their way to the api. `watch` gets the batches, `tell` hears of each line, `note` that there is another batch."""

    def __init__(self, api: Api, watch: Watch, tell: Callable[[Fate], None], *, note: Callable[[], None], refresh: bool) -> None:
        self._api = api
        self._watch = watch
        self._tell = tell
        self._note = note
        self._refresh = refresh
        self.lines = 0
        """Those that the api has answered for."""
        self.whole = False
        """Whether those were all."""

    def send_all(self, lines: Iterable[str | Unreadable], between: Callable[[], None] | None) -> None:
        """Submits them as they come; `between` is called now and then. Raises Failure: those before it are submitted."""
        next_at = time.monotonic() + BETWEEN
        for batch in gathered(lines, BATCH):
            self.send(batch)
            if between and time.monotonic() >= next_at:
                between()
                next_at = time.monotonic() + BETWEEN
        self.whole = True

    def send(self, lines: Sequence[str | Unreadable]) -> None:
        """Submits them, as one batch. Raises Failure: then none of them, or all of them, are submitted."""
        urls = [line for line in lines if isinstance(line, str)]
        for line in lines:
            if isinstance(line, Unreadable):
                self._watch.unsent["refused"] += 1
                self._tell(Fate("refused", "", line.text, line.detail))
        if not urls:
            return
        batch = self._api.submit(urls, key=str(uuid.uuid4()))
        fates = [_fate(url, item) for url, item in zip(urls, batch.get("items") or (), strict=False)]
        self.lines += len(lines)
        if self._refresh:
            fates = self._refreshed(fates)
        self._watch.follow(batch)
        self._note()
        for fate in fates:
            self._tell(fate)

    def _refreshed(self, fates: list[Fate]) -> list[Fate]:
        """With those that were known already downloaded again."""
        known = [fate.url for fate in fates if fate.outcome == "known"]
        with ThreadPoolExecutor(REFRESHES_AT_ONCE) as threads:
            list(threads.map(self._api.refresh, known))
        return [fate._replace(outcome="refreshed") if fate.outcome == "known" else fate for fate in fates]


def _fate(url: str, item: Json) -> Fate:
    detail = item.get("detail")
    return Fate(str(item.get("outcome")), id_in(item.get("image")) or "", url, str(detail) if detail else "")


class Fates:
    """Hears of what became of lines, and keeps the first refused ones."""

    KEPT = 1000

    def __init__(self, tell: Callable[[Fate], None] | None) -> None:
        self._tell = tell
        self.counts: Counter[str] = Counter()
        self.refused: list[Fate] = []

    def __call__(self, fate: Fate) -> None:
        """One more."""
        self.counts[fate.outcome] += 1
        if fate.outcome == "refused" and len(self.refused) < self.KEPT:
            self.refused.append(fate)
        if self._tell:
            self._tell(fate)
