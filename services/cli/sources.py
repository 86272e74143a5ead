"""URLs out of a file or standard input: a URL a line, CSV, or JSON lines. Read as they come, in bounded memory.

What is no URL is left to the api, which says which rule it breaks. What can't even be read as text is refused here, with the number of its line.
"""

from __future__ import annotations

import csv
import itertools
import json
from codecs import BOM_UTF8
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Format = Literal["lines", "csv", "jsonl"]

DEFAULT_COLUMN = "url"
READ_BYTES = 65_536
MAX_LINE_BYTES = 1024 * 1024
"""A line of CSV may have much beside the URL; of one that is longer than this, the rest is dropped."""
MAX_URL = 4096
"""Characters of a URL that are sent. The api takes half as many, and says so of what has more."""
_SUFFIXES: dict[str, Format] = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}
_DELIMITERS = ",;\t|"


class Unreadable(NamedTuple):
    """A line with no URL in it that could be sent: what is wrong with it."""

    text: str
    detail: str


class WrongColumn(Exception):
    """The named column isn't there. Its text is a sentence."""


def format_of(name: str, column: str | None) -> Format | None:
    """What a file's name says it is; None if that is to be seen from its first line."""
    suffix = name[name.rfind(".") :].lower() if "." in name else ""
    return _SUFFIXES.get(suffix) or (None if column else "lines")


def read(source: Callable[[int], bytes], form: Format | None, column: str | None = None) -> Iterator[str | Unreadable]:
    """The URLs of a source, which gives up to so many bytes at a call, and none at its end. Raises WrongColumn."""
    lines = _decoded(_lines(source))
    first = next(lines, None)
    if first is None:
        return
    if form is None:
        form = "jsonl" if isinstance(first, str) and first.lstrip().startswith("{") else "csv"
    again = itertools.chain([first], lines)
    if form == "lines":
        yield from _plain(again)
    elif form == "jsonl":
        yield from _json_lines(again, column or DEFAULT_COLUMN)
    else:
        yield from _table(again, column or DEFAULT_COLUMN)


def _lines(source: Callable[[int], bytes]) -> Iterator[bytes]:
    """Lines with their ends, which quoted fields of CSV need."""
    pending, mark = bytearray(), BOM_UTF8
    while data := source(READ_BYTES):
        whole, end, rest = data.rpartition(b"\n")
        if end:
            for line in (bytes(pending) + whole).split(b"\n"):
                yield line[:MAX_LINE_BYTES].removeprefix(mark) + b"\n"
                mark = b""
            pending = bytearray()
        pending += rest[: max(0, MAX_LINE_BYTES - len(pending))]
    if pending:
        yield bytes(pending).removeprefix(mark)


def _decoded(lines: Iterator[bytes]) -> Iterator[str | Unreadable]:
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode()
        except UnicodeDecodeError:
            yield Unreadable(line.decode("utf-8", "backslashreplace").strip()[:MAX_URL], f"Line {number} isn't UTF-8.")


def _plain(lines: Iterator[str | Unreadable]) -> Iterator[str | Unreadable]:
    """A URL a line; empty lines, and those that begin with #, are comments (as in RFC 2483, section 5)."""
    for line in lines:
        url = line if isinstance(line, Unreadable) else line.strip()[:MAX_URL]
        if isinstance(url, Unreadable) or (url and not url.startswith("#")):
            yield url


def _json_lines(lines: Iterator[str | Unreadable], column: str) -> Iterator[str | Unreadable]:
    for number, line in enumerate(lines, 1):
        if isinstance(line, Unreadable):
            yield line
        elif line.strip():
            yield _of_json(line, column, number)


def _of_json(line: str, column: str, number: int) -> str | Unreadable:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return Unreadable(line.strip()[:MAX_URL], f"Line {number} isn't JSON.")
    url = found.get(column) if isinstance(found, dict) else found
    if isinstance(url, str):
        return url[:MAX_URL]
    return Unreadable(line.strip()[:MAX_URL], f"Line {number} has no text named {column!r}.")


def _table(lines: Iterator[str | Unreadable], column: str) -> Iterator[str | Unreadable]:
    """A column of CSV, by the name that its first line has for it, or by its number, from 1."""
    unreadable: list[Unreadable] = []
    texts = _texts(lines, unreadable)
    first = next(texts, "")
    delimiter = max(_DELIMITERS, key=first.count)
    rows = csv.reader(itertools.chain([first], texts), delimiter=delimiter)
    at: int | None = None
    while True:
        try:
            row = next(rows)
        except StopIteration:
            yield from unreadable
            return
        except csv.Error as error:
            yield Unreadable("", f"Line {rows.line_num} isn't CSV: {error}.")
            continue
        yield from unreadable
        unreadable.clear()
        if at is None:
            at, row = _begin(row, column)
        if any(row):
            yield (
                row[at].strip()[:MAX_URL]
                if at < len(row)
                else Unreadable(delimiter.join(row)[:MAX_URL], f"Line {rows.line_num} has no column {column!r}.")
            )


def _texts(lines: Iterator[str | Unreadable], others: list[Unreadable]) -> Iterator[str]:
    """Those that a reader of CSV can take; the others go where its caller finds them."""
    for line in lines:
        if isinstance(line, str):
            yield line
        else:
            others.append(line)


def _begin(header: list[str], column: str) -> tuple[int, list[str]]:
    """Where the column is, and what of the first line is data: all of it, if the column goes by its number and has a URL there."""
    names = [name.strip() for name in header]
    if column in names:
        return names.index(column), []
    if not column.isdecimal() or not 1 <= int(column) <= len(names):
        raise WrongColumn(f"There is no column {column!r}; the first line has {', '.join(map(repr, names))}.")
    at = int(column) - 1
    return at, header if "://" in names[at] else []
