"""A page's tags in their order, in time proportional to its length: the HTML Living Standard's tokenizer (section 13.2.5), without a tree.

A tree is what makes a parser slow on purpose-made pages (docs/decisions/0007-pages.md), and finding images needs none. Each match begins
where the one before it ended, and no pattern has two ways to match the same text, so that nothing is ever read again.
"""

from __future__ import annotations

import re
from html.entities import html5
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

BLANK = "\t\n\f\r "
"""ASCII whitespace, as the standards for pages have it: no vertical tab, no others of Unicode's."""

MAX_TAGS = 500_000
"""Tags of a page that are read; the 8 MiB of the largest pages have about half as many."""

_IN_ONE_TAG = 256  # attributes and gaps between them; what follows is passed over
_ATTRIBUTE = rf"[^{BLANK}/>][^{BLANK}/>=]*(?:[{BLANK}]*=[{BLANK}]*(?:\"[^\"]*\"?|'[^']*'?|[^{BLANK}>\"'][^{BLANK}>]*)?)?"
_TOKEN = re.compile(
    rf"<(?:(?P<close>/?)(?P<name>[a-zA-Z][^{BLANK}/>]*)(?P<rest>(?:[{BLANK}/]+|{_ATTRIBUTE}){{0,{_IN_ONE_TAG}}})[^>]*(?P<end>>?)"
    r"|!--(?:-?>|.*?(?:--!?>|\Z))|(?P<cdata>!\[CDATA\[)|[!/?][^>]*)",
    re.DOTALL,
)
_PARTS = re.compile(rf"([^{BLANK}/>][^{BLANK}/>=]*)(?:[{BLANK}]*=[{BLANK}]*(?:\"([^\"]*)\"|'([^']*)'|([^{BLANK}>\"'][^{BLANK}>]*)|))?")

_RAW = frozenset({"script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes"})
"""Elements whose content is text up to their own end tag. `noscript` isn't among them: lazy loaders keep the plain image in there."""

_RAW_END = {name: re.compile(rf"</{name}(?=[{BLANK}/>])", re.IGNORECASE) for name in _RAW}
_SCRIPT = re.compile(rf"<!--(?!-?>)|-->|<(/?)script(?=[{BLANK}/>])", re.IGNORECASE)
_FOREIGN = frozenset({"svg", "math"})


class Tag(NamedTuple):
    """A start tag, or with `closing` an end tag. `rest` is what follows the name, `text` a style element's content."""

    name: str
    closing: bool
    rest: str
    text: str = ""


def tags(text: str, *, xhtml: bool = False) -> Iterator[Tag]:
    """The tags of a page, up to MAX_TAGS of them. In `xhtml`, an element that closes itself is closed, as XML has it."""
    at, foreign = 0, 0
    for _ in range(MAX_TAGS):
        found = _TOKEN.search(text, at)
        if not found:
            return
        at = found.end()
        if found["cdata"]:
            # Text, where the document's namespace has such sections (section 13.2.5.42); a comment up to the next > elsewhere.
            mark = "]]>" if xhtml or foreign else ">"
            at = text.find(mark, at)
            if at < 0:
                return
        if not found["name"]:
            continue
        if not found["end"]:  # the page ends within the tag, which therefore isn't one (section 13.2.5.32 and others: eof-in-tag)
            return
        name, closing, rest = found["name"].lower(), bool(found["close"]), found["rest"]
        empty = (xhtml or bool(foreign)) and rest.endswith("/")
        content = ""
        if name in _FOREIGN and not empty:
            foreign = max(0, foreign + (-1 if closing else 1))
        elif name in _RAW and not closing and not empty:
            end = _end_of_script(text, at) if name == "script" else _end_of_raw(text, at, name)
            content, at = text[at:end] if name == "style" else "", end
        elif name == "plaintext" and not closing:
            return
        yield Tag(name, closing, rest, content)


def attributes(rest: str) -> dict[str, str]:
    """The attributes of a tag by their names in lower case, character references replaced. Of two with the same name the first counts."""
    found = {name.lower(): quoted or single or bare for name, quoted, single, bare in reversed(_PARTS.findall(rest))}
    return {name: _replace(value) if "&" in value or "\0" in value else value for name, value in found.items()}


def _end_of_raw(text: str, at: int, name: str) -> int:
    found = _RAW_END[name].search(text, at)
    return found.start() if found else len(text)


def _end_of_script(text: str, at: int) -> int:
    """Section 13.2.5.17 and following: in a comment within a script, `<script>` and `</script>` come in pairs."""
    in_comment = in_pair = False
    for found in _SCRIPT.finditer(text, at):
        match found[0][:2], found[1]:
            case "--", _:
                in_comment = in_pair = False
            case "<!", _:
                in_comment = True
            case _, "/" if not in_pair:
                return found.start()
            case _, mark:
                in_pair = in_comment and not mark
    return len(text)


_REFERENCE = re.compile(r"&(?:#(?:[xX]([0-9a-fA-F]+)|([0-9]+));?|([a-zA-Z0-9]+)(;|(?==))?)")
_REPLACEMENT = "\ufffd"
_DIGITS = 8


def _replace(value: str) -> str:
    return _REFERENCE.sub(_character, value).replace("\0", _REPLACEMENT)


def _character(found: re.Match[str]) -> str:
    """Section 13.2.5.72 and following, in an attribute: `&copy=` and `&copying` are no references, or half of all queries would break."""
    whole, hexadecimal, decimal, name, mark = found[0], found[1], found[2], found[3], found[4]
    if name:
        return html5.get(name + (mark or ""), whole) if mark != "" else whole
    digits, base = (hexadecimal, 16) if hexadecimal else (decimal, 10)
    digits = digits.lstrip("0")
    number = int(digits, base) if 0 < len(digits) <= _DIGITS else 0
    if 0x80 <= number <= 0x9F:  # noqa: PLR2004  (what windows-1252 has where Unicode has control characters)
        return bytes([number]).decode("cp1252", "replace")
    if not 0 < number <= 0x10FFFF or 0xD800 <= number <= 0xDFFF:  # noqa: PLR2004  (none, or half of a pair)
        return _REPLACEMENT
    return chr(number)
