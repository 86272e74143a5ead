"""What the list can be narrowed to, read from query parameters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api import filters
from services.api.http.problems import Problem
from services.fetcher.formats import CONTENT_TYPES
from shared.batches import BATCH_ID
from shared.listing import FORMATS, Filters, Position, query
from shared.status import Status
from shared.urls import IMAGE_ID


def test_the_formats_are_those_that_the_fetchers_recognise() -> None:
    assert sorted(FORMATS) == sorted(name.lower() for name in CONTENT_TYPES)


def test_pages_and_batches_can_be_told_apart_by_their_ids() -> None:
    assert not IMAGE_ID.fullmatch("a" * 32)
    assert not BATCH_ID.fullmatch("a" * 26)


def test_nothing_given_is_no_filter() -> None:
    assert filters.read({"limit": "5", "cursor": "x"}) == Filters()


def test_each_is_read_as_it_is_stored() -> None:
    given = {"status": "stored", "host": "EXAMPLE.org", "format": "png", "page": "a" * 26, "batch": "b" * 32}
    read = filters.read(given)
    assert (read.status, read.host, read.format, read.page, read.batch) == (Status.STORED, "example.org", "png", "a" * 26, "b" * 32)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("example.org", "example.org"), ("Example.ORG", "example.org"), ("bücher.example", "xn--bcher-kva.example"), ("127.1", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"), ("[::1]", "[::1]"), ("[0:0::1]", "[::1]"), ("localhost", "localhost"),
        ("$gt", "$gt"),  # browsers would ask for it; it is no operator
    ],
)  # fmt: skip
def test_a_host_is_found_however_it_is_written(text: str, host: str) -> None:
    assert filters.read({"host": text}).host == host


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "a b", "example.org:80", "example.org:", "[::1]:80", "::1", "[::1", "example.org/", "example.org/x", "example.org\\x", "example.org?x",
        "example.org#x", "user@example.org", "user:password@example.org", "http://example.org", "//example.org", "example.org.", ".example.org",
        "a..b", "%00", "a%2fb", "\0", "x" * 3000, "1.2.3.4.5", "[x]", "example.org/x]", "example.org#]", "user@[::1]", "example.org:80/]", "\ud800",
    ],
)  # fmt: skip
def test_what_is_no_host_is_refused(text: str) -> None:
    refused("host", text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("status", text) for text in ("", "STORED", "stored ", "stored,failed", "$ne", "done")),
        *(("format", text) for text in ("", "JPEG", "jpg", "svg", "image/png", "$exists")),
        *(("page", text) for text in ("", "x", "a" * 25, "a" * 27, "A" * 26, "1" * 26, "b" * 32, "a" * 26 + "\n")),
        *(("batch", text) for text in ("", "x", "a" * 31, "a" * 33, "A" * 32, "g" * 32, "a" * 26, "a" * 32 + "\n")),
    ],
)
def test_what_is_not_one_of_the_values_is_refused(name: str, text: str) -> None:
    refused(name, text)


@pytest.mark.parametrize("name", ["added_after", "added_before"])
@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2026", "2026-01-31", "2026-01-31T12:00:00", "2026-01-31 12:00:00", "12:00:00Z", "1767182400", "2026-02-30T12:00:00Z",
        "2026-01-31T24:00:01Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "10000-01-01T00:00:00Z",
        "2026-01-31T12:00:00 01:00", "2026-01-31T12:00:00+25:00", "2026-01-31T12:00:00Z ", "2026-01-31T12:00:00Zjunk", "\0", "x" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_time_with_its_offset_is_refused(name: str, text: str) -> None:
    refused(name, text)


def refused(name: str, text: str) -> None:
    with pytest.raises(Problem) as raised:
        filters.read({name: text})
    problem = raised.value
    assert problem.kind.name == "bad-parameter"
    assert problem.members["errors"][0]["parameter"] == name  # type: ignore[index]
    assert problem.detail.startswith(f"{name} must be ")
    assert len(problem.detail) < 500


@pytest.mark.parametrize("name", ["added_after", "added_before"])
@pytest.mark.parametrize("text", ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00+00:00", "2026-01-31T13:30:00+01:30", "2026-01-31T12:00:00.000000Z"])
def test_a_time_is_read_with_its_offset(name: str, text: str) -> None:
    assert getattr(filters.read({name: text}), name) == datetime(2026, 1, 31, 12, tzinfo=UTC)


OFFSETS = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=OFFSETS)  # noqa: DTZ001


@given(TIMES, st.integers(-2000, 2000))
def test_times_select_what_they_say_although_mongodb_keeps_milliseconds(time: datetime, apart: int) -> None:
    read = filters.read({"added_after": time.isoformat(), "added_before": time.isoformat()})
    added_at = kept(time + timedelta(microseconds=apart))
    bounds, _ = query(read)
    assert (added_at > kept(bounds["added_at"]["$gt"])) == (added_at > time)
    assert (added_at < kept(bounds["added_at"]["$lt"])) == (added_at < time)


def kept(time: datetime) -> datetime:
    """As BSON has it."""
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def test_the_earliest_and_the_latest_times_are_taken() -> None:
    for text in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"):
        assert filters.read({"added_before": text}).added_before
        assert filters.read({"added_after": text}).added_after


def test_a_position_bounds_what_a_time_bounds_already() -> None:
    at = datetime(2026, 1, 31, tzinfo=UTC)
    found, index = query(Filters(added_before=at, added_after=at), Position(at, "a" * 26))
    assert found == {"added_at": {"$gt": at, "$lt": at, "$lte": at}, "$nor": [{"added_at": at, "_id": {"$gte": "a" * 26}}]}
    assert index == "newest"
