"""shared/retry.py: the decision as a table, and its bounds as properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DownloadError, PermanentError, Reason, TransientError
from shared.retry import JITTER, MAX_SNOOZES, MIN_WAIT, Again, decide, put_off

DELAYS = (5.0, 30.0, 120.0)


def transient(retry_after: float | None = None) -> TransientError:
    return TransientError(Reason.HTTP_STATUS, "503", retry_after=retry_after)


@pytest.mark.parametrize(
    ("error", "attempt", "snoozes", "expected"),
    [
        pytest.param(PermanentError(Reason.HTTP_STATUS, "404"), 1, 0, None, id="permanent: given up at once"),
        pytest.param(transient(), 1, 0, Again(5.0, 5.0, False), id="first failure: first delay"),
        pytest.param(transient(), 3, 0, Again(120.0, 120.0, False), id="third failure: third delay"),
        pytest.param(transient(), 4, 0, None, id="after the last delay: given up"),
        pytest.param(transient(), 4, 2, Again(30.0, 30.0, False), id="snoozes spend no attempt"),
        pytest.param(transient(7), 1, 0, Again(7.0, 30.0, True), id="Retry-After: in the next longer queue"),
        pytest.param(transient(7), 9, 0, Again(7.0, 30.0, True), id="Retry-After: even when the attempts are spent"),
        pytest.param(transient(9999), 1, 0, Again(120.0, 120.0, True), id="Retry-After: capped at the longest delay"),
        pytest.param(transient(0), 1, 0, Again(5.0, 5.0, False), id="Retry-After 0 is no request to wait"),
        pytest.param(transient(-3), 1, 0, Again(5.0, 5.0, False), id="nor is one in the past"),
        pytest.param(transient(7), MAX_SNOOZES + 1, MAX_SNOOZES, Again(30.0, 30.0, False), id="one snooze too many counts, and still waits"),
        pytest.param(transient(7), MAX_SNOOZES + 4, MAX_SNOOZES, None, id="and ends"),
    ],
)
def test_what_follows_a_failed_attempt(error: DownloadError, attempt: int, snoozes: int, expected: Again | None) -> None:
    assert decide(error, attempt=attempt, snoozes=snoozes, delays=DELAYS, uniform=lambda: 0.0) == expected


def test_without_delays_nothing_is_tried_again() -> None:
    assert decide(transient(7), attempt=1, snoozes=0, delays=(), uniform=lambda: 0.0) is None


@given(
    retry_after=st.none() | st.floats(allow_nan=False, allow_infinity=True),
    attempt=st.integers(1, 50),
    snoozes=st.integers(0, 49),
    delays=st.lists(st.floats(0.1, 1e5), min_size=1, unique=True).map(sorted),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_the_wait_is_bounded_and_never_earlier_than_asked(
    retry_after: float | None, attempt: int, snoozes: int, delays: list[float], chance: float
) -> None:
    again = decide(transient(retry_after), attempt=attempt, snoozes=min(snoozes, attempt - 1), delays=delays, uniform=lambda: chance)
    if again:
        assert 0 < again.wait <= again.delay <= delays[-1]
        assert again.delay in delays
        assert again.wait >= min(retry_after or 0, delays[-1])
        assert again.snoozed or again.wait >= again.delay * (1 - JITTER) - 1e-9


@pytest.mark.parametrize(
    ("seconds", "delay", "wait"),
    [(0, 5, MIN_WAIT), (3, 5, 3), (5, 5, None), (29, 5, None), (30, 30, None), (119, 30, None), (700, 120, None)],
)
def test_what_is_put_off_comes_back_no_later_than_its_time_unless_that_is_very_near(seconds: float, delay: float, wait: float | None) -> None:
    assert put_off(seconds, DELAYS) == (delay, wait)


def test_a_download_that_always_fails_comes_to_an_end() -> None:
    attempt, snoozes = 1, 0
    while again := decide(transient(1), attempt=attempt, snoozes=snoozes, delays=DELAYS, uniform=lambda: 0.5):
        attempt, snoozes = attempt + 1, snoozes + again.snoozed
    assert attempt == MAX_SNOOZES + len(DELAYS) + 1
