"""srcset: several sizes of one image (HTML Living Standard, section 4.8.4.2.2, "Parsing a srcset attribute")."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from services.fetcher.html.markup import BLANK

MAX_CANDIDATES = 500
"""Candidates of one attribute that are read; people write about ten."""

_URL = re.compile(rf"[{BLANK},]*([^{BLANK},][^{BLANK}]*)")
_DESCRIPTORS = re.compile(r"[^,(]*")
_WORD = re.compile(rf"[^{BLANK}]+")
_DESCRIPTOR = re.compile(r"([0-9]{1,300})[wh]|(-?(?:[0-9]{1,300}(?:\.[0-9]{1,300})?|\.[0-9]{1,300})(?:[eE][-+]?[0-9]{1,300})?)x")


class Candidate(NamedTuple):
    """One size of an image: its URL as written, and what tells sizes apart.

    `width` is in pixels, and whatever has one goes before what has a `density` only.
    """

    url: str
    density: float = 1.0
    width: float = 0.0

    @property
    def rank(self) -> tuple[float, float]:
        """The larger, the larger the image."""
        return self.width, self.density


def parse(value: str) -> list[Candidate]:
    """The candidates of a srcset attribute in their order, those in error left out; sizes, which is for layout, is ignored."""
    candidates: list[Candidate] = []
    at = 0
    for _ in range(MAX_CANDIDATES):
        found = _URL.match(value, at)
        if not found:
            break
        url, at = found[1], found.end()
        descriptors: str | None = ""
        if url.endswith(","):
            url = url.rstrip(",")
        else:
            descriptors, at = _descriptors(value, at)
        candidate = _candidate(url, descriptors)
        if candidate:
            candidates.append(candidate)
    return candidates


def _descriptors(value: str, at: int) -> tuple[str | None, int]:
    """What follows a URL up to its comma, and where that ends. None if it has parentheses, in which commas end nothing: no descriptor has any."""
    start = at
    plain = True
    while True:
        at = value_end = _DESCRIPTORS.match(value, at).end()  # type: ignore[union-attr]  # (it matches anything)
        if value[at : at + 1] != "(":
            return value[start:value_end] if plain else None, at + 1
        plain = False
        closed = value.find(")", at)
        if closed < 0:
            return None, len(value)
        at = closed + 1


def _candidate(url: str, descriptors: str | None) -> Candidate | None:
    """Steps 11 to 16 of the algorithm: each kind of descriptor at most once, no density beside another, no height without a width."""
    numbers: dict[str, float] = {}
    for descriptor in ["("] if descriptors is None else _WORD.findall(descriptors):
        found = _DESCRIPTOR.fullmatch(descriptor)
        kind = descriptor[-1]
        if not found or kind in numbers or (numbers and kind == "x") or "x" in numbers:
            return None
        number = numbers[kind] = float(found[1] or found[2])
        if number < 0 or math.isinf(number) or (kind != "x" and not number):
            return None
    if "h" in numbers and "w" not in numbers:
        return None
    return Candidate(url, numbers.get("x", 1.0), numbers.get("w", 0.0))
