"""The bodies of POST /batches, line by line."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api import lines
from services.api.http.problems import Problem
from shared.errors import UrlRefused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

A, B = "https://example.org/a.jpg", "https://example.org/b.jpg"
URI_LIST, NDJSON, JSON = "text/uri-list", "application/x-ndjson", "application/json"


class Request:
    """What is asked of a request, with a body that comes in these chunks."""

    def __init__(self, content_type: str, *chunks: bytes) -> None:
        self.headers = {"content-type": content_type}
        self.scope = {"query_string": b""}
        self._chunks = chunks

    async def stream(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk

    async def body(self) -> bytes:
        return b"".join(self._chunks)


def read(content_type: str, *chunks: bytes) -> lines.Lines:
    request: Any = Request(content_type, *chunks)
    return asyncio.run(lines.read(request))


def shown(content_type: str, *chunks: bytes) -> list[str]:
    """Each line's URL, or the rule that it breaks."""
    return [line.rule if isinstance(line, UrlRefused) else line for line in read(content_type, *chunks).urls]


def refused(content_type: str, *chunks: bytes) -> Problem:
    with pytest.raises(Problem) as raised:
        read(content_type, *chunks)
    return raised.value


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (f"{A}\n{B}\n", [A, B]),
        (f"{A}\n{B}", [A, B]),
        (f"{A}\r\n{B}\r\n", [A, B]),
        (f"# a list\n{A}\n#{B}\n\n   \n\t{B} \r\n\n", [A, B]),
        (f"\ufeff{A}\n{B}\n", [A, B]),
        (f"\ufeff# a list\n{A}\n", [A]),
        (f"{A}\n\ufeff{B}\n", [A, f"\ufeff{B}"]),
        ("hello\nwörld", ["hello", "wörld"]),
        (f"{A}\0\n{A} {B}\n", [f"{A}\0", f"{A} {B}"]),
    ],
)
def test_a_uri_list_has_a_url_a_line_and_comments(body: str, expected: list[str]) -> None:
    assert shown(URI_LIST, body.encode()) == expected


@pytest.mark.parametrize(
    "content_type", [NDJSON, "application/ndjson", "application/jsonl", "application/x-jsonlines", "Application/X-NDJSON; charset=utf-8"]
)
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (f'{{"url": "{A}"}}\n"{B}"\n', [A, B]),
        (f'\ufeff{{"url": "{A}"}}\r\n\r\n  \r\n"{B}"', [A, B]),
        (f'{{"url": "{A}"\n"{B}"', ["line-syntax", B]),
        (f'{{"url": "{A}", "x": 1}}\n{{}}\n{{"url": 5}}\n[]\nnull\n5\n{A}\n#\n"{B}"', ["line-syntax"] * 8 + [B]),
        (f'"{A}" "{B}"\n"{B}"', ["line-syntax", B]),
        (r'"https:\/\/example.org\/a.jpg"', [A]),
        ("[" * 5000, ["line-syntax"]),
    ],
)
def test_ndjson_has_an_object_or_a_text_a_line(content_type: str, body: str, expected: list[str]) -> None:
    assert shown(content_type, body.encode()) == expected


@pytest.mark.parametrize("content_type", [URI_LIST, NDJSON])
def test_a_line_that_is_no_utf_8_hinders_no_other(content_type: str) -> None:
    quote = b'"' if content_type == NDJSON else b""
    body = b"\n".join(quote + url + quote for url in (A.encode(), b"https://example.org/\xff\xfe", b"\xc3", b"\xed\xa0\x80", B.encode()))
    assert shown(content_type, body) == [A, "line-syntax", "line-syntax", "line-syntax", B]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=12), max_size=12), st.data())
def test_however_the_body_is_cut_into_chunks_the_lines_are_the_same(texts: list[str], data: st.DataObject) -> None:
    body = "\n".join(texts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    chunks = [body[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    stripped = [line.strip() for line in body.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    expected = [line.decode() for line in stripped if line and not line.startswith(b"#")]
    if not expected:
        assert refused(URI_LIST, *chunks).kind.name == "bad-body"
        return
    found = read(URI_LIST, *chunks)
    assert found.urls == expected
    assert found.fingerprint == hashlib.sha256(body).hexdigest()


def as_body(content_type: str, urls: list[str]) -> bytes:
    if content_type == JSON:
        return json.dumps({"urls": urls}).encode()
    return "\n".join(urls if content_type == URI_LIST else map(json.dumps, urls)).encode()


@pytest.mark.parametrize("content_type", [JSON, URI_LIST, NDJSON])
def test_ten_thousand_urls_are_taken_and_one_more_is_not(content_type: str) -> None:
    urls = [f'https://example.org/"{number}\\' for number in range(lines.MAX_URLS)]
    assert read(content_type, as_body(content_type, urls)).urls == urls
    problem = refused(content_type, as_body(content_type, [*urls, A]))
    assert (problem.kind.name, "10,000" in problem.detail) == ("content-too-large", True)


@pytest.mark.parametrize("content_type", [JSON, URI_LIST, NDJSON])
def test_a_body_without_a_url_is_refused(content_type: str) -> None:
    empty = (
        [b'{"urls": []}']
        if content_type == JSON
        else [b"", b"\n", b" \r\n\n", b"\xef\xbb\xbf", *([b"# nothing\n"] if content_type == URI_LIST else [])]
    )
    for body in empty:
        problem = refused(content_type, body)
        assert (problem.kind.name, "has no URL" in problem.detail) == ("bad-body", True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'{"urls": null}',
        b'{"urls": "https://example.org/"}',
        b'{"urls": [null]}',
        b'{"url": []}',
        b'{"urls": ["a"], "x": 1}',
        b'{"urls": ["a"]',
    ],
)
def test_json_of_another_shape_is_refused(body: bytes) -> None:
    assert refused(JSON, body).kind.name == "bad-body"


@pytest.mark.parametrize(
    ("start", "piece", "times", "end"),
    [(b'{"urls": ["a"', b',"a"', 4_000_000, b"]}"), (b'{"urls": ["', b'\\"', 4_000_000, b'"]}'), (b'{"urls": [', b'"\\\\",', 3_000_000, b"")],
)
def test_json_that_would_become_millions_of_texts_is_refused_before_it_does(start: bytes, piece: bytes, times: int, end: bytes) -> None:
    body = start + piece * times + end
    request: Any = Request(JSON, body)
    tracemalloc.start()
    try:
        with contextlib.suppress(Problem):
            asyncio.run(lines.read(request))
        assert tracemalloc.get_traced_memory()[1] < 3 * len(body)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("line", "content_type"), [(b"\n", URI_LIST), (b"#\n", URI_LIST), (b"\n", NDJSON)])
def test_lines_without_a_url_are_bounded_too(line: bytes, content_type: str) -> None:
    assert refused(content_type, *([line * 1000] * 1000), A.encode()).kind.name == "content-too-large"


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/uri-listx", "application/jsonx"]
)
def test_another_media_type_is_told_which_there_are(content_type: str) -> None:
    problem = refused(content_type, A.encode())
    assert problem.kind.name == "unsupported-media-type"
    assert problem.headers["Accept-Post"].split(", ")[:2] == ["application/json", "text/uri-list"]
    assert "text/uri-list" in problem.detail
