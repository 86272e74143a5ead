"""services/fetcher/html/srcset.py: the standard's algorithm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fetcher.html import srcset


def read(value: str) -> list[str]:
    return [f"{one.url} {one.width:g}w" if one.width else f"{one.url} {one.density:g}x" for one in srcset.parse(value)]


@pytest.mark.parametrize(
    ("value", "candidates"),
    [
        ("", []),
        (" , ,, ", []),
        ("a", ["a 1x"]),
        (" \t\n\f\r a\t\n", ["a 1x"]),
        ("a,", ["a 1x"]),
        (",,a,,", ["a 1x"]),
        ("a, b", ["a 1x", "b 1x"]),
        ("a,b", ["a,b 1x"]),
        ("a , b", ["a 1x", "b 1x"]),
        ("a 1x,b 2x", ["a 1x", "b 2x"]),
        ("a\t2x\n,\nb\r3x", ["a 2x", "b 3x"]),
        ("w_1,h_2/a.jpg 100w, w_2,h_4/a.jpg 200w", ["w_1,h_2/a.jpg 100w", "w_2,h_4/a.jpg 200w"]),
        ("data:,a 1x, b 2x", ["data:,a 1x", "b 2x"]),
        ("data:,a ( , data:,b 1x, ), data:,c", ["data:,c 1x"]),
        ("a (, b 2x", []),
        ("a ( b ) 2x, c", ["c 1x"]),
        ("a 1.5x", ["a 1.5x"]),
        ("a .5x", ["a 0.5x"]),
        ("a 1e2x", ["a 100x"]),
        ("a 1E+2x", ["a 100x"]),
        ("a 0x", ["a 0x"]),
        ("a -0x", ["a -0x"]),
        ("a -1x, b +1x, c 1.x, d x, e 1e999x, f 1X, g NaNx, h 0x1x", []),
        ("a 0w, b -1w, c 1.5w, d w, e 1W, f +1w", []),
        ("a 1w 1h", ["a 1w"]),
        ("a 1h 1w", ["a 1w"]),
        ("a 1h, b 0h 1w, c 1w 0h", []),
        ("a 1x 1x, b 1w 1w, c 1w 1x, d 1x 1w, e 1x 1h, f 1h 1x, g 1w 1h 1h", []),
        ("a 1q, b 2x q, c", ["c 1x"]),
        ("a\u00a02x", ["a\u00a02x 1x"]),
        ("a\v2x b", []),
        ("a 00100w", ["a 100w"]),
    ],
)
def test_a_srcset_is_read_as_the_standard_has_it(value: str, candidates: list[str]) -> None:
    assert read(value) == candidates


def test_no_more_candidates_are_read_than_anybody_writes() -> None:
    assert len(srcset.parse("a ," * 10_000)) == srcset.MAX_CANDIDATES


@given(st.text("ab,() \t12wxh.e-", max_size=200))
def test_a_candidate_is_part_of_what_was_given(value: str) -> None:
    for candidate in srcset.parse(value):
        assert candidate.url in value
        assert not set(candidate.url) & set(" \t")
        assert not candidate.url.startswith(",")
        assert not candidate.url.endswith(",") or candidate.url not in value.split()[-1:]
        assert candidate.width >= 0
        assert candidate.density >= 0
