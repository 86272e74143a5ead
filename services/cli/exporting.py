"""Fetching many images at once, and putting them where they belong in the order of the list."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.cli.errors import Damaged, Refused
from services.cli.words import size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from concurrent.futures import Future

    from services.cli.client import Api
    from services.cli.destinations import Destination, Fetched
    from services.cli.link import Json
    from services.cli.patience import Patience

AT_ONCE = 8
AHEAD = 4 * AT_ONCE
"""As many are fetched, or wait for their turn, at any time: a slow one holds up no thread, and nothing piles up."""
TRIES = 3
"""Downloads of an image whose bytes arrive damaged."""


@dataclass
class Counts:
    """How far an export has come. `missed` couldn't be had although they should be there; `without` have no copy."""

    saved: int = 0
    there: int = 0
    without: int = 0
    missed: int = 0
    bytes: int = 0

    def sentence(self) -> str:
        """For people."""
        parts = [f"{self.saved:,} saved{f' ({size(self.bytes)})' if self.saved else ''}"]
        for count, words in ((self.there, "there already"), (self.without, "without a copy"), (self.missed, "could not be had")):
            if count:
                parts.append(f"{count:,} {words}")
        return ", ".join(parts)

    def json(self) -> Json:
        """For programs."""
        return {"saved": self.saved, "there": self.there, "without_copy": self.without, "missed": self.missed, "bytes": self.bytes}


class Export:
    """One export. `complain` hears of each image that can't be had."""

    def __init__(self, api: Api, patience: Patience, complain: Callable[[str], None]) -> None:
        self._api = api
        self._patience = patience
        self._complain = complain
        self.counts = Counts()

    def run(self, wanted: Mapping[str, str], to: Destination, show: Callable[[str], None]) -> None:
        """Fetches what fits; `show` is shown how far it has come. Raises Failure when it can't go on."""
        threads = ThreadPoolExecutor(AT_ONCE)
        try:
            for image, coming in _ahead(self._with_copies(wanted), lambda image: threads.submit(self._fetch, to, image)):
                self._put(to, image, coming)
                show(self.counts.sentence())
        finally:
            threads.shutdown(cancel_futures=True)

    def _with_copies(self, wanted: Mapping[str, str]) -> Iterator[Json]:
        for image in self._api.images(wanted):
            if image.get("stored_url"):
                yield image
            else:
                self.counts.without += 1

    def _fetch(self, to: Destination, image: Json) -> Fetched:
        for left in reversed(range(TRIES)):
            try:
                return self._patience(lambda: to.fetch(self._api, image))
            except Damaged:
                if not left:
                    raise
        raise AssertionError

    def _put(self, to: Destination, image: Json, coming: Future[Fetched]) -> None:
        try:
            fetched = coming.result()
        except (Refused, Damaged) as error:  # deleted since it was listed, for instance
            self.counts.missed += 1
            self._complain(f"{image.get('id')}: {error}")
            return
        to.put(image, fetched)
        to.index.add(image, fetched.file, fetched.copy)
        if fetched.there:
            self.counts.there += 1
        else:
            self.counts.saved += 1
            self.counts.bytes += fetched.copy.size


def _ahead(images: Iterator[Json], begin: Callable[[Json], Future[Fetched]]) -> Iterator[tuple[Json, Future[Fetched]]]:
    """Each image with its future, begun so many images before it is wanted."""
    begun: deque[tuple[Json, Future[Fetched]]] = deque()
    for image in images:
        begun.append((image, begin(image)))
        if len(begun) == AHEAD:
            yield begun.popleft()
    yield from begun
