"""The header Range (RFC 9110, section 14)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.http import ranges


@pytest.mark.parametrize(
    ("header", "selected"),
    [
        ("bytes=0-499", range(500)),
        ("bytes=500-999", range(500, 1000)),
        ("bytes=-500", range(9500, 10000)),
        ("bytes=9500-", range(9500, 10000)),
        ("bytes=0-0", range(1)),
        ("bytes=9999-", range(9999, 10000)),
        ("bytes=-99999", range(10000)),
        ("bytes=0-99999", range(10000)),
        ("BYTES=1-2", range(1, 3)),
        ("bytes= 1-2 ", range(1, 3)),
        ("bytes=,1-2,", range(1, 3)),
        ("bytes=0001-0002", range(1, 3)),
        ("bytes=5-" + "9" * 100, range(5, 10000)),
    ],
)
def test_a_range_selects(header: str, selected: range) -> None:
    assert ranges.parse(header, 10000) == selected


@pytest.mark.parametrize(
    "header",
    [None, "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=2-1", "bytes=1-2,4-5", "bytes=+1-2", "bytes=1 -2", "bytes=0x1-2", "lines=1-2",
     "bytes=١-٢", "bytes 1-2", "bytes=--1", "bytes=1-2-3", "bytes=1-2;4-5"],
)  # fmt: skip
def test_what_is_no_single_range_is_answered_with_the_whole(header: str | None) -> None:
    assert ranges.parse(header, 10000) is None


@pytest.mark.parametrize("header", ["bytes=10000-", "bytes=10000-10001", "bytes=-0", "bytes=-000", "bytes=" + "9" * 5000 + "-"])
def test_a_range_beyond_the_end_is_not_satisfiable(header: str) -> None:
    with pytest.raises(ranges.Unsatisfiable, match=r"^bytes \*/10000$"):
        ranges.parse(header, 10000)


@given(st.text() | st.from_regex(r"bytes=[0-9]{0,30}-[0-9]{0,30}", fullmatch=True), st.integers(min_value=1, max_value=2**40))
def test_whatever_is_asked_for_what_is_selected_lies_within(header: str, length: int) -> None:
    try:
        selected = ranges.parse(header, length)
    except ranges.Unsatisfiable:
        return
    assert selected is None or (selected.step == 1 and 0 <= selected.start < selected.stop <= length)


@given(st.data(), st.integers(min_value=1, max_value=10**9))
def test_a_range_within_is_selected_as_it_is(data: st.DataObject, length: int) -> None:
    first = data.draw(st.integers(min_value=0, max_value=length - 1))
    last = data.draw(st.integers(min_value=first, max_value=length - 1))
    assert ranges.parse(f"bytes={first}-{last}", length) == range(first, last + 1)


@pytest.mark.parametrize(
    "header", ["bytes=" + "," * 500_000, "bytes=" + " \t," * 200_000 + "x", "bytes=" + "1" * 500_000 + "-" + "1" * 500_000 + "x"]
)
def test_a_long_header_takes_linear_time(header: str) -> None:
    started = time.perf_counter()
    assert ranges.parse(header, 10) is None
    assert time.perf_counter() - started < 1
