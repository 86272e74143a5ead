"""Query parameters are read strictly."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.http import parameters
from services.api.http.problems import Problem

KNOWN = ("limit", "cursor", "status", "url")


@given(st.dictionaries(st.sampled_from(KNOWN), st.text(st.characters(exclude_categories=["Cs"]))))
def test_what_was_encoded_is_read_back(given_values: dict[str, str]) -> None:
    assert parameters.read(urlencode(given_values).encode(), KNOWN) == given_values


@pytest.mark.parametrize(
    ("query", "name", "says"),
    [
        (b"limti=3", "limti", "did you mean limit?"),
        (b"zzz=3", "zzz", "known are limit, cursor"),
        (b"limit=1&limit=2", "limit", "more than once"),
        (b"url=http://a/?b=1&c=2", "c", "%26"),
    ],
)
def test_a_parameter_that_cannot_be_is_named(query: bytes, name: str, says: str) -> None:
    with pytest.raises(Problem) as raised:
        parameters.read(query, KNOWN)
    assert raised.value.members["errors"] == [{"parameter": name, "detail": raised.value.detail}]
    assert says in raised.value.detail


@pytest.mark.parametrize("query", [b"\xff=1", b"url=%ff", b"&".join([b"a=1"] * 100)])
def test_a_query_that_cannot_be_read_is_a_problem(query: bytes) -> None:
    with pytest.raises(Problem):
        parameters.read(query, KNOWN)


@pytest.mark.parametrize("value", ["0", "-1", "501", "1000000000", "9" * 5000, "", "x", "1.0", "1e2", " 1", "+1", "١"])
def test_a_number_out_of_bounds_is_a_problem(value: str) -> None:
    with pytest.raises(Problem, match="limit must be a whole number from 1 to 500"):
        parameters.whole({"limit": value}, "limit", default=100, low=1, high=500)


@pytest.mark.parametrize(("values", "number"), [({}, 100), ({"limit": "1"}, 1), ({"limit": "500"}, 500), ({"limit": "007"}, 7)])
def test_a_number_within_is_taken(values: dict[str, str], number: int) -> None:
    assert parameters.whole(values, "limit", default=100, low=1, high=500) == number
