"""What the client says: durations, sizes, how far it has come, and the history of an image in plain words."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.tally import WINDOW, Pace, Tally, lasting
from services.cli.words import history, reason, size
from shared.errors import Reason

NOW = datetime(2026, 1, 31, 14, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ms"), (0.04, "40 ms"), (0.25, "0.2 s"), (1, "1 s"), (89.4, "89 s"), (95, "2 min"), (3600, "60 min"), (5400, "1 h 30 min"), (7200, "2 h"),
        (86_400, "1 d"), (100_000, "1 d 3 h"),
    ],
)  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    assert lasting(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (81_920, "81.9 KB"), (999_999, "1.0 MB"), (5e12, ""), (5 * 10**15, "5000.0 TB"), (None, "")],
)
def test_sizes(count: object, words: str) -> None:
    assert size(count) == words


def attempt(number: int, at: str, why: str | None = None, detail: str | None = None, took: int = 0) -> dict[str, Any]:
    return {"number": number, "at": f"2026-01-31T{at}Z", "took_ms": took, "reason": why, "detail": detail}


def said(status: str, *attempts: dict[str, Any], now: datetime = NOW, **more: Any) -> list[str]:
    return list(history({"status": status, "attempts": list(attempts), **more}, now=now))


def test_the_history_of_an_image_says_what_happened_and_what_comes() -> None:
    first = attempt(1, "14:01:30", "http_status", "The origin answered 503 Service Unavailable.", 210)
    second = attempt(2, "14:02:11", "timeout", "The download was not done after 10 s.", 10_000)
    assert said("delayed", first, second, next_attempt_at="2026-01-31T14:03:30Z") == [
        "1st attempt, 14:01:30: the origin answered 503 Service Unavailable, after 0.2 s; next after 41 s",
        "2nd attempt, 14:02:11: the download was not done after 10 s, after 10 s; next in 30 s",
    ]
    assert said("delayed", first, next_attempt_at="2026-01-31T14:02:59Z")[0].endswith("; next any moment")
    assert said("failed", first)[0].endswith("; given up")
    assert said("stored", first, attempt(2, "14:02:00", took=1200))[1] == "2nd attempt, 14:02:00: the image came in 1 s"
    assert said("expanded", attempt(1, "14:02:00", took=50), page={"found": 3}) == ["1st attempt, 14:02:00: the page came in 50 ms"]


def test_an_attempt_of_another_day_has_its_date_and_one_that_waits_is_named() -> None:
    assert said("queued", attempt(1, "14:01:30"), now=NOW + timedelta(days=1)) == [
        "1st attempt, 2026-01-31 14:01:30: the image came",
        "2nd attempt: waiting for its turn",
    ]
    assert said("queued") == ["1st attempt: waiting for its turn"]


@pytest.mark.parametrize(
    ("number", "word"), [(3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (13, "13th"), (21, "21st"), (112, "112th"), (None, "An")]
)
def test_ordinals(number: int, word: str) -> None:
    assert said("failed", attempt(number, "14:00:00", "dns"))[0].startswith(f"{word} attempt, ")


@pytest.mark.parametrize("why", list(Reason))
def test_every_reason_has_words_for_an_api_that_gives_none(why: str) -> None:
    assert reason({"reason": why, "detail": None}) != why


@given(
    st.dictionaries(
        st.sampled_from(["status", "attempts", "next_attempt_at", "page"]), st.from_type(object) | st.lists(st.dictionaries(st.text(), st.text()))
    )
)
def test_nothing_that_an_api_may_say_breaks_it(image: dict[str, Any]) -> None:
    list(history(image, now=NOW))


def test_how_far_it_has_come() -> None:
    tally = Tally(
        fates=Counter(accepted=490, known=6, refused=4),
        images=Counter(stored=400, failed=12, delayed=3, queued=80, expanded=1),
        reasons=Counter(http_status=8, timeout=4),
    )
    assert (tally.lines, tally.total, tally.done, tally.left, tally.flawless) == (500, 496, 413, 83, False)
    assert tally.sentence() == "400 stored, 12 failed (8 http_status, 4 timeout), 1 page, 6 known before, 4 refused, 3 to be tried again"
    assert Tally(fates=Counter(accepted=1), images=Counter(stored=1)).flawless
    assert not Tally(fates=Counter(refused=1)).flawless


def test_the_pace_is_that_of_the_last_seconds() -> None:
    pace = Pace()
    assert (pace.rate(), pace.left(5)) == (0.0, None)
    for second in range(100):
        pace.note(second, 10 * min(second, 50))
        assert second > 50 or not second or pace.rate() == pytest.approx(10)
    assert pace.rate() == 0
    assert pace.left(5) is None
    assert len(pace._seen) <= WINDOW + 2
    pace.note(100, 530)
    assert pace.left(60) == pytest.approx(60 / (30 / WINDOW))
