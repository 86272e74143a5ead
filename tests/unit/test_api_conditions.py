"""Conditional requests (RFC 9110, section 13)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.http import conditions

ETAG = '"abc"'
MODIFIED = datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)
SAME, EARLIER, LATER = "Sat, 31 Jan 2026 12:00:00 GMT", "Sat, 31 Jan 2026 11:59:59 GMT", "Sat, 31 Jan 2026 12:00:01 GMT"


@pytest.mark.parametrize("header", ['"abc"', 'W/"abc"', "*", " * ", '"x", "abc"', '"x","abc"', 'W/"x", W/"abc"', '"a,b", "abc"', ', "abc" ,'])
def test_a_copy_with_the_same_etag_is_current(header: str) -> None:
    assert conditions.not_modified(ETAG, MODIFIED, if_none_match=header, if_modified_since=None)


@pytest.mark.parametrize("header", ['"abd"', "abc", '""', "", '"ABC"', '"xabc"', '"abc', "W/abc"])
def test_another_etag_is_not(header: str) -> None:
    assert not conditions.not_modified(ETAG, MODIFIED, if_none_match=header, if_modified_since=None)


@pytest.mark.parametrize(
    ("header", "current"),
    [(SAME, True), (LATER, True), (EARLIER, False), ("yesterday", False), ("", False), ("Sat, 99 Jan 99999999 12:00:00 GMT", False)],
)
def test_a_copy_that_is_as_new_is_current(header: str, current: bool) -> None:  # noqa: FBT001
    assert conditions.not_modified(ETAG, MODIFIED, if_none_match=None, if_modified_since=header) is current


def test_with_an_etag_the_date_is_not_looked_at() -> None:
    assert not conditions.not_modified(ETAG, MODIFIED, if_none_match='"x"', if_modified_since=LATER)


@pytest.mark.parametrize(
    ("header", "applies"),
    [
        (None, True),
        (ETAG, True),
        ('W/"abc"', False),
        ('"x"', False),
        (SAME, True),
        (LATER, False),
        (EARLIER, False),
        ("nonsense", False),
        ("*", False),
    ],
)
def test_a_range_is_obeyed_only_for_the_same_content(header: str | None, applies: bool) -> None:  # noqa: FBT001
    assert conditions.range_applies(ETAG, MODIFIED, header) is applies


@given(st.text(), st.text())
def test_any_header_is_survived(first: str, second: str) -> None:
    conditions.not_modified(ETAG, MODIFIED, if_none_match=first, if_modified_since=second)
    conditions.not_modified(ETAG, MODIFIED, if_none_match=None, if_modified_since=second)
    conditions.range_applies(ETAG, MODIFIED, first)


def test_a_time_is_written_as_http_has_it() -> None:
    assert conditions.http_date(MODIFIED) == SAME
