"""Where the client's URLs come from: lines, CSV, JSON lines, whatever is in them, at whatever pace."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli import sources
from services.cli.gathering import gathered
from services.cli.sources import MAX_LINE_BYTES, MAX_URL, Unreadable, WrongColumn, format_of, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

A, B = "https://a/1.jpg", "https://b/2.jpg"


def urls(text: str | bytes, form: sources.Format | None = "lines", column: str | None = None) -> list[str | Unreadable]:
    raw = text if isinstance(text, bytes) else text.encode()
    return list(read(io.BytesIO(raw).read1, form, column))


@pytest.mark.parametrize(
    "text",
    [f"{A}\n{B}\n", f"{A}\n{B}", f"{A}\r\n{B}\r\n", f"\n# cats\n  {A}  \n\n{B}\n#{A}\n", f"\ufeff{A}\n{B}"],
)
def test_lines_are_urls_but_for_comments_and_empty_ones(text: str) -> None:
    assert urls(text) == [A, B]


@pytest.mark.parametrize(
    ("text", "column", "found"),
    [
        (f"name,url\ncat,{A}\ndog,{B}\n", None, [A, B]),
        (f"name;address\ncat;{A}\n", "address", [A]),
        (f"\ufeffurl\tname\n{A}\tcat\n", None, [A]),
        (f'name,url\n"a ""cat"",\nand a dog",{A}\n', None, [A]),
        (f"name,url\n\ncat, {A} \n", None, [A]),
        (f"cat,{A}\ndog,{B}\n", "2", [A, B]),
        (f"name,where\ncat,{A}\n", "2", [A]),
        (f'url\n"{A}?a,b"\n', None, [f"{A}?a,b"]),
        ("url\n", None, []),
        (f"name,url\ncat\ndog,{B}\n", None, [Unreadable("cat", "Line 2 has no column 'url'."), B]),
        (f"name,url\ncat,\ndog,{B}\n", None, ["", B]),
    ],
)
def test_a_column_of_csv(text: str, column: str | None, found: list[str | Unreadable]) -> None:
    assert urls(text, "csv", column) == found


@pytest.mark.parametrize("column", ["link", "0", "3", "-1"])
def test_a_column_that_is_not_there_names_those_that_are(column: str) -> None:
    with pytest.raises(WrongColumn, match="'name', 'url'"):
        urls(f"name,url\ncat,{A}\n", "csv", column)


def test_json_lines() -> None:
    text = f'{{"url": "{A}", "n": 1}}\n\n"{B}"\n{{"link": "x"}}\n{{"url": 7}}\nnot json\n{"[" * 100_000}\n{{"url": "{B}"}}'
    found = urls(text, "jsonl")
    assert [one if isinstance(one, str) else one.detail for one in found] == [
        A, B, "Line 4 has no text named 'url'.", "Line 5 has no text named 'url'.", "Line 6 isn't JSON.", "Line 7 isn't JSON.", B,
    ]  # fmt: skip
    assert urls(f'{{"link": "{A}"}}', "jsonl", "link") == [A]


@pytest.mark.parametrize(
    ("name", "column", "form"),
    [
        ("a.csv", None, "csv"), ("A.TSV", None, "csv"), ("a.jsonl", None, "jsonl"), ("a.ndjson", "x", "jsonl"), ("a.txt", None, "lines"), ("", None, "lines"),
        ("a.txt", "url", None), ("", "url", None),
    ],
)  # fmt: skip
def test_the_name_says_what_it_is_and_else_a_column_that_it_is_no_list_of_lines(name: str, column: str | None, form: str | None) -> None:
    assert format_of(name, column) == form


def test_what_has_columns_shows_by_its_first_line_what_it_is() -> None:
    assert urls(f'{{"link": "{A}"}}\n', None, "link") == [A]
    assert urls(f"link,x\n{A},1\n", None, "link") == [A]


@pytest.mark.parametrize("form", ["lines", "csv", "jsonl"])
def test_a_line_that_is_no_utf_8_is_refused_by_its_number_and_the_others_are_read(form: sources.Format) -> None:
    first = b"url\n" if form == "csv" else b""
    body = {"lines": A.encode(), "csv": A.encode(), "jsonl": f'"{A}"'.encode()}[form]
    found = urls(first + b"caf\xe9\x1b\n" + body + b"\n", form)
    assert sorted(found, key=str) == sorted([Unreadable("caf\\xe9\x1b", f"Line {2 if first else 1} isn't UTF-8."), A], key=str)


def test_an_endless_line_takes_no_more_memory_than_a_line_may_have() -> None:
    left = 64
    largest = 0

    def endless(size: int) -> bytes:
        nonlocal left
        left -= 1
        return b"x" * size if left >= 0 else b""

    for found in read(endless, "lines"):
        largest = max(largest, len(found))
    assert largest == MAX_URL
    assert max(map(len, sources._lines(io.BytesIO(b"x" * (3 * MAX_LINE_BYTES)).read1))) == MAX_LINE_BYTES


@given(
    st.lists(st.sampled_from([b"https://a/1.jpg", b"#", b"\n", b"\r\n", b"\xff", b'"', b",", b"{", b"url", b"\x00"]), max_size=30), st.integers(1, 7)
)
def test_whatever_comes_in_whatever_pieces_is_read_alike(parts: list[bytes], size: int) -> None:
    body = b"".join(parts)
    forms: list[sources.Format] = ["lines", "csv", "jsonl"]
    for form in forms:
        whole: list[object] = []
        pieces: list[object] = []
        for source, found in ((io.BytesIO(body).read1, whole), (_in_pieces(body, size), pieces)):
            try:
                found.extend(read(source, form))
            except WrongColumn as error:
                found.append(str(error))
        assert whole == pieces


def _in_pieces(body: bytes, size: int) -> Callable[[int], bytes]:
    source = io.BytesIO(body)
    return lambda _: source.read(size)


def test_batches_are_full_while_there_is_more_and_the_last_has_the_rest() -> None:
    assert [len(batch) for batch in gathered(range(25), 10)] == [10, 10, 5]
    assert list(gathered([], 10)) == []


def test_a_batch_goes_when_nothing_more_comes_for_a_while() -> None:
    more = threading.Event()

    def slow() -> Iterator[int]:
        yield from range(3)
        assert more.wait(20)
        yield 3

    batches = gathered(slow(), 10, pause=0.05)
    assert next(batches) == [0, 1, 2]
    assert next(batches) == []
    more.set()
    assert [batch for batch in batches if batch] == [[3]]


def test_what_breaks_while_it_is_read_is_raised_after_what_came_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise WrongColumn("x")

    batches = gathered(broken(), 10)
    assert next(batches) == [1]
    with pytest.raises(WrongColumn):
        next(batches)
