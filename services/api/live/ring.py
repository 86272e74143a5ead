"""The latest events, which any number of streams read, each from a place of its own."""

from __future__ import annotations

import re
import time
import uuid
from typing import NamedTuple

KEPT = 10_000
KEPT_BYTES = 8 * 1024**2
OWNER_BYTES = 100
"""What an id costs in a set of them."""
_ID = re.compile(r"([0-9a-f]{20})-([0-9]{1,15})")


class Entry(NamedTuple):
    """An event as it is sent, and the ids by which it can be filtered."""

    frame: bytes
    owners: frozenset[str]

    @property
    def size(self) -> int:
        """In memory, in bytes, about."""
        return len(self.frame) + OWNER_BYTES * len(self.owners)


class Read(NamedTuple):
    """What follows a place: the frames, the place after them, and whether something before them is gone."""

    frames: list[bytes]
    place: int
    gap: bool


class Ring:
    """The latest events, `most` of them at most, and `most_bytes`. A place is the number of the last event seen; numbers rise by 1."""

    def __init__(self, *, most: int = KEPT, most_bytes: int = KEPT_BYTES) -> None:
        # Of this process, and no other: begins with the time, so that ids rise from one process to the next too.
        self._epoch = f"{time.time_ns() // 1_000_000:012x}{uuid.uuid4().hex[:8]}"
        self._most, self._most_bytes, self._bytes = most, most_bytes, 0
        self._entries: dict[int, Entry] = {}
        self._first, self.last = 1, 0

    def id_of(self, place: int) -> str:
        """A place as clients see it."""
        return f"{self._epoch}-{place}"

    def place_of(self, identifier: str) -> int | None:
        """The place that a client names; None for one of another process, or none at all."""
        found = _ID.fullmatch(identifier)
        return int(found[2]) if found and found[1] == self._epoch and int(found[2]) <= self.last else None

    def add(self, entry: Entry) -> None:
        """The next event, number `last` + 1."""
        self.last += 1
        self._entries[self.last] = entry
        self._bytes += entry.size
        while len(self._entries) > self._most or self._bytes > self._most_bytes:
            self._bytes -= self._entries.pop(self._first).size
            self._first += 1

    def miss(self) -> None:
        """Something happened that nobody knows of: there is no going on from any place before."""
        self._entries.clear()
        self._bytes = 0
        self.last += 1
        self._first = self.last + 1

    def read(self, place: int, wanted: frozenset[str], *, most_bytes: int) -> Read:
        """What happened after a place to what all those `wanted` have, up to some bytes, though always one event."""
        if place < self._first - 1:
            return Read([], self.last, gap=True)
        frames: list[bytes] = []
        size = 0
        while place < self.last and size < most_bytes:
            place += 1
            entry = self._entries[place]
            if wanted <= entry.owners:
                frames.append(entry.frame)
                size += len(entry.frame)
        return Read(frames, place, gap=False)
