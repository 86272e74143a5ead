"""The images that CSS refers to, found in one pass (CSS Syntax Level 3, section 4, as far as that takes it)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from services.fetcher.html.markup import BLANK
from services.fetcher.html.srcset import Candidate

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_TOKENS = 100_000
"""Comments, strings and URLs of all style sheets of a page that are read; what follows isn't."""

_DOUBLE = r"\"([^\"\\\n]*(?:\\.[^\"\\\n]*){0,999})[\"\n]?"
_SINGLE = r"'([^'\\\n]*(?:\\.[^'\\\n]*){0,999})['\n]?"
_BARE = rf"([^{BLANK}\"'()\\]*(?:\\(?:[0-9a-f]{{1,6}}[{BLANK}]?|.)[^{BLANK}\"'()\\]*){{0,999}})"
_TOKEN = re.compile(
    rf"/\*.*?(?:\*/|\Z)|(?P<string>{_DOUBLE}|{_SINGLE})|(?P<url>(?<![\w-])url\([{BLANK}]*(?:{_DOUBLE}|{_SINGLE}|{_BARE})[{BLANK}]*(?:\)|\Z))"
    r"|(?P<set>(?<!\w)image-set\()|\\.",
    re.DOTALL | re.IGNORECASE,
)
_ANY = re.compile(r"url\(|image-set\(", re.IGNORECASE)
_END_OF_DECLARATION = re.compile(r".*[;{}]", re.DOTALL)
_WITHIN_DECLARATION = re.compile(r"[^;{}]*")
_PROPERTY = re.compile(rf"[{BLANK}]*(--|[-_a-z0-9]+)[^:]*:", re.IGNORECASE)
_PREFIX = re.compile(r"-(?:webkit|moz|ms|o)-", re.IGNORECASE)
_ESCAPE = re.compile(rf"\\(?:([0-9a-f]{{1,6}})(?:\r\n|[{BLANK}])?|(\r\n|.))", re.DOTALL | re.IGNORECASE)
_RESOLUTION = re.compile(r"(?<![\w.])([0-9]{1,6}(?:\.[0-9]{1,6})?|\.[0-9]{1,6})(x|dppx|dpi|dpcm)\b", re.IGNORECASE)
_DOTS = {"x": 1.0, "dppx": 1.0, "dpi": 96.0, "dpcm": 96 / 2.54}

# Properties whose URLs are images. Those of others are fonts (src), filters, paths and scripts, or parts of this very page.
_IMAGES = ("background", "list-style", "border-image", "content", "mask", "cursor", "shape-outside", "box-reflect", "--")


class _Set:
    """An image-set() that is open: sizes of one image, each followed by its resolution."""

    def __init__(self) -> None:
        self.candidates: list[Candidate] = []
        self.depth = 1

    def passes(self, gap: str) -> None:
        """Takes note of what lies between two tokens."""
        if (found := _RESOLUTION.search(gap)) and self.candidates:
            self.candidates[-1] = self.candidates[-1]._replace(density=float(found[1]) / _DOTS[found[2].lower()])
        self.depth += gap.count("(") - gap.count(")")


class _Token(NamedTuple):
    gap: str
    kind: str | None
    value: str


def budget() -> Iterator[int]:
    """What one page's style sheets have together: one for each token."""
    return iter(range(MAX_TOKENS))


def images(css: str, tokens: Iterator[int], *, property_name: str | None = None) -> list[list[Candidate]]:
    """The images of a style sheet or a style attribute, or of the value of one property; each with its sizes."""
    if not _ANY.search(css):
        return []
    found: list[list[Candidate]] = []
    name, opened = property_name or "", None
    for token in _tokens(css, tokens):
        if opened:
            opened.passes(_WITHIN_DECLARATION.match(token.gap)[0])  # type: ignore[index]  # (it matches anything)
            opened = opened if opened.depth > 0 else None
        ended = _END_OF_DECLARATION.match(token.gap)
        if ended:
            name, opened = "", None
        if not name and (named := _PROPERTY.match(token.gap, ended.end() if ended else 0)):
            name = _PREFIX.sub("", named[1].lower(), count=1)
        if not name.startswith(_IMAGES):
            continue
        if token.kind == "set":
            opened = _Set()
            found.append(opened.candidates)
        elif not token.value:
            continue
        elif opened and opened.depth == 1:  # deeper is type(), which isn't
            opened.candidates.append(Candidate(token.value))
        elif token.kind == "url" and not opened:
            found.append([Candidate(token.value)])
    return [group for group in found if group]


def _tokens(css: str, budget: Iterator[int]) -> Iterator[_Token]:
    at = 0
    for found, _ in zip(_TOKEN.finditer(css), budget, strict=False):
        value = next(filter(None, found.groups()[1:3] + found.groups()[4:7]), "")
        yield _Token(css[at : found.start()], found.lastgroup, _ESCAPE.sub(_character, value) if "\\" in value else value)
        at = found.end()
    yield _Token(css[at:], None, "")


def _character(found: re.Match[str]) -> str:
    if not found[1]:
        return found[2] if found[2] not in {"\n", "\r\n", "\f"} else ""
    number = int(found[1], 16)
    return chr(number) if 0 < number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF else "\ufffd"  # noqa: PLR2004  (section 4.3.7)
