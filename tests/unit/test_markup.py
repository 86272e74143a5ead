"""services/fetcher/html/markup.py: the tags of a page, compared with those that a parser with a tree finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from services.fetcher.html import markup

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode


def start_tags(text: str) -> list[tuple[str, dict[str, str]]]:
    return [(tag.name, markup.attributes(tag.rest)) for tag in markup.tags(text) if not tag.closing]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<a>", {}),
        ("<a b>", {"b": ""}),
        ("<a b=c>", {"b": "c"}),
        ("<a b=c/>", {"b": "c/"}),
        ("<a b= 'c d' E=\"F\">", {"b": "c d", "e": "F"}),
        ("<a b=c b=d>", {"b": "c"}),
        ("<a b=>", {"b": ""}),
        ("<a =b=c>", {"=b": "c"}),
        ("<a 'b'=c>", {"'b'": "c"}),
        ("<a b='c'd=e>", {"b": "c", "d": "e"}),
        ("<a b=c'd\"e>", {"b": "c'd\"e"}),
        ("<a/b/c=d/>", {"b": "", "c": "d/"}),
        ("<a b\n=\n'c\nd'>", {"b": "c\nd"}),
        ("<a b='<c>'>", {"b": "<c>"}),
    ],
)
def test_attributes(text: str, found: dict[str, str]) -> None:
    assert start_tags(text) == [("a", found)]


def test_a_tag_has_at_least_a_hundred_attributes() -> None:
    ((_, found),) = start_tags("<a " + " ".join(f"b{number}=c" for number in range(300)) + " d='>'>")
    assert len(found) >= 100


def test_a_style_element_has_its_content() -> None:
    assert [tag.text for tag in markup.tags("<style a>b</style ><style>c</stylish>d")] == ["b", "", "c</stylish>d"]


def test_no_more_tags_are_read_than_pages_have() -> None:
    assert sum(1 for _ in markup.tags("<a>" * (markup.MAX_TAGS + 10))) == markup.MAX_TAGS


NAMES = st.sampled_from(["div", "img", "p", "SPAN", "b", "x-y", "section"])
TEXT = st.text("ab <&;\"'=/!-\n\0\u00e9", max_size=12)
VALUES = st.one_of(
    st.text("ab<>&;='/ !-#x41copy\u00e9", max_size=12).map(lambda value: f'="{value}"'),
    st.text('ab<>&;="/ !-', max_size=12).map(lambda value: f"= '{value}'"),
    st.text("ab<&;/!-=", min_size=1, max_size=8).map(lambda value: f"=a{value} "),
    st.just(""),
)
ATTRIBUTES = st.lists(st.tuples(st.sampled_from(["src", "a", "DATA-b", "style", "c"]), VALUES).map("".join), max_size=4).map(" ".join)
START = st.tuples(NAMES, ATTRIBUTES).map(lambda parts: f"<{parts[0]} {parts[1]}>")
PARTS = st.one_of(
    START,
    NAMES.map(lambda name: f"</{name}>"),
    TEXT,
    TEXT.map(lambda text: f"<!--{text}-->"),
    TEXT.map(lambda text: f"<script>{text}</script>"),
    TEXT.map(lambda text: f"<style>{text}</style>"),
    TEXT.map(lambda text: f"<textarea>{text}</textarea>"),
    TEXT.map(lambda text: f"<!{text}>"),
    st.sampled_from(
        ["<!-->", "<!--->", "<?x>", "</3>", "<script><!--<script></script>--></script>", "<title><img></title>", "<noscript>", "</noscript>"]
    ),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(PARTS, max_size=8).map("".join))
@example("<img src='a&copy=b&copy;&#128;&notit;'>")
@example("<script><!-- <img> </script><img>")
def test_a_page_has_the_elements_that_a_tree_has(page: str) -> None:
    """Those of the names above: html, head and body a tree has anyway, and p and b it makes more of than there are tags."""
    names = {"div", "img", "span", "x-y", "section", "script", "style", "textarea"}
    text = f"<body>{page}".replace("\r", "")
    tree = LexborHTMLParser(text)
    expected = [(node.tag or "", given_attributes(node)) for node in tree.css(", ".join(names))]
    assert [tag for tag in start_tags(text) if tag[0] in names] == expected


def given_attributes(node: LexborNode) -> dict[str, str]:
    return {name: value or "" for name, value in node.attributes.items()}
