"""Cursors: what was written is read back, and nothing else is read."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api import cursors
from shared.listing import Position

TIMES = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 12, 31), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000)
)
POSITIONS = st.builds(Position, TIMES, st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=26, max_size=26))


@given(POSITIONS)
def test_a_position_comes_back_from_its_cursor(position: Position) -> None:
    assert cursors.decode(cursors.encode(position)) == position


@given(POSITIONS)
def test_a_cursor_needs_no_escaping_in_a_url(position: Position) -> None:
    assert set(cursors.encode(position)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.text() | st.binary(min_size=35, max_size=35).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_garbage_is_refused(text: str) -> None:
    try:
        position = cursors.decode(text)
    except ValueError:
        return
    assert cursors.encode(position) == text


@given(POSITIONS, st.integers(min_value=0, max_value=46), st.characters())
def test_a_cursor_that_was_changed_is_refused_or_is_another_whole_one(position: Position, at: int, character: str) -> None:
    cursor = cursors.encode(position)
    changed = cursor[:at] + character + cursor[at + 1 :]
    try:
        assert cursors.encode(cursors.decode(changed)) == changed
    except ValueError:
        assert changed != cursor


@pytest.mark.parametrize("change", [lambda c: c + "=", lambda c: c + "A", lambda c: c[:-1], lambda c: " " + c, lambda c: c + "\n", str.swapcase])
def test_only_the_spelling_that_was_handed_out_is_taken(change: object) -> None:
    cursor = cursors.encode(Position(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=7), "a" * 26))
    with pytest.raises(ValueError, match="not a cursor"):
        cursors.decode(change(cursor))  # type: ignore[operator]
