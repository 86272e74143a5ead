"""services/fetcher/html/css.py: the images that style sheets refer to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fetcher.html import css


def read(text: str) -> list[list[str]]:
    return [[f"{one.url} {one.density:g}x" if one.density != 1 else one.url for one in image] for image in css.images(text, css.budget())]


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("background:url(a)", [["a"]]),
        ("background: URL( a )", [["a"]]),
        ("BACKGROUND:url('a')", [["a"]]),
        ('background:url( "a" )', [["a"]]),
        ("background:url(a), url(b) no-repeat, linear-gradient(red, blue)", [["a"], ["b"]]),
        ("background:url(data:image/png;base64,x=), url(b)", [["data:image/png;base64,x="], ["b"]]),
        ("background:url('a;}b')", [["a;}b"]]),
        ("background:url(a\\)b)", [["a)b"]]),
        ("background:url('a\\'b')", [["a'b"]]),
        ('background:url("a\\"b")', [['a"b']]),
        ("background:url('a\\\nb')", [["ab"]]),
        ("background:url(\\61 b)", [["ab"]]),
        ("background:url('\\000061b')", [["ab"]]),
        ("background:url('\\110000\\d800\\0')", [["\ufffd" * 3]]),
        ("background:url(a b), url(c)", [["c"]]),
        ("background:url(a'b), url(c)", []),
        ("background:url('a'), url('b", [["a"], ["b"]]),
        ("background:url(a", [["a"]]),
        ("background:url()", []),
        ("background:myurl(a)", []),
        ("background-image:url(a)", [["a"]]),
        ("list-style:url(a)", [["a"]]),
        ("list-style-image:url(a)", [["a"]]),
        ("border-image:url(a)", [["a"]]),
        ("border-image-source:url(a)", [["a"]]),
        ("-webkit-border-image:url(a)", [["a"]]),
        ("content:url(a)", [["a"]]),
        ("content:'url(a)'", []),
        ("mask:url(a)", [["a"]]),
        ("-webkit-mask-image:url(a)", [["a"]]),
        ("cursor:url(a), auto", [["a"]]),
        ("--picture:url(a)", [["a"]]),
        ("src:url(a)", []),
        ("filter:url(a)", []),
        ("clip-path:url(a)", []),
        ("behavior:url(a)", []),
        ("@import url(a);", []),
        ("@import 'a';b{background:url(c)}", [["c"]]),
        ("@namespace url(a);", []),
        ("@font-face{font-family:x;src:url(a)}", []),
        ("@media x{a:hover{background:url(a)}}", [["a"]]),
        ("a[href='url(x)']{background:url(a)}", [["a"]]),
        ("a{color:red}b{background:url(a)}c{filter:url(d)}", [["a"]]),
        ("/* background:url(a) */", []),
        ("/* ; */background:/* ' */url(a)", [["a"]]),
        ("background:url(/*a)", [["/*a"]]),
        ("background:url(a);/*", [["a"]]),
        ("background:image-set('a' 1x, 'b' 2x)", [["a", "b 2x"]]),
        ("background:-webkit-image-set(url(a) 1x, url(b) 1.5dppx)", [["a", "b 1.5x"]]),
        ("background:image-set('a' type('image/avif') 2x, 'b' type('image/png'))", [["a 2x", "b"]]),
        ("background:image-set('a' 192dpi), url(b)", [["a 2x"], ["b"]]),
        ("background:image-set('a' 2x);background:url(b)", [["a 2x"], ["b"]]),
        ("background:image-set('a' 2x", [["a 2x"]]),
        ("background:image-set(linear-gradient(red, blue) 1x)", []),
        ("filter:image-set('a' 1x)", []),
    ],
)
def test_images_are_found_where_css_has_them(text: str, images: list[list[str]]) -> None:
    assert read(text) == images


def test_all_style_sheets_of_a_page_share_one_budget() -> None:
    tokens = iter(range(2))
    assert len(css.images("background:url(a)", tokens)) == 1
    assert len(css.images("background:url(a),url(b),url(c)", tokens)) == 1
    assert css.images("background:url(a)", tokens) == []


@given(st.text("url(ab)'\"\\;{}:/*-background ", max_size=200))
def test_no_style_sheet_is_too_strange(text: str) -> None:
    for image in css.images(f"background:{text}", css.budget()):
        assert image
        assert all(candidate.url for candidate in image)
