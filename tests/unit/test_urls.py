"""shared/urls.py: one reading of a URL."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import urls
from shared.errors import UrlRefused


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "url-syntax"),
        ("hello", "url-syntax"),
        ("//x/y.jpg", "url-syntax"),
        ("/x.jpg", "url-syntax"),
        ("http:x", "url-syntax"),
        ("http:///x", "url-syntax"),
        ("http://", "url-syntax"),
        ("http://?x", "url-syntax"),
        ("http://a:+80/", "url-syntax"),
        ("http://a:99999/", "url-syntax"),
        ("http://[::1/", "url-syntax"),
        ("http://a.b/\udc80", "url-syntax"),
        ("file:///etc/passwd", "url-scheme"),
        ("ftp://a/b.jpg", "url-scheme"),
        ("gopher://a/", "url-scheme"),
        ("data:image/png;base64,xx", "url-scheme"),
        ("javascript:alert(1)", "url-scheme"),
        ("http://user@a/", "url-credentials"),
        ("http://user:pass@a/", "url-credentials"),
        ("http://:pass@a/", "url-credentials"),
        ("http://a./", "url-host"),
        ("http://a../", "url-host"),
        ("http://a..b/", "url-host"),
        ("http://.a/", "url-host"),
        ("http://a/ b", "url-characters"),
        (" http://a/", "url-characters"),
        ("http://a/\n", "url-characters"),
        ("ht\ttp://a/", "url-characters"),
        ("http://a\r\nHost: b/", "url-characters"),
        ("http://a/\x00", "url-characters"),
        ("http://a/" + "x" * 2040, "url-too-long"),
        ("http://a/" + "ä" * 1100, "url-too-long"),
        ("http://a/" + "ä" * 900, "url-too-long"),
        ("http://a:22/", "url-port"),
        ("http://a:6379/", "url-port"),
    ],
)
def test_a_url_outside_the_rules_is_refused_by_name(text: str, rule: str) -> None:
    with pytest.raises(UrlRefused) as caught:
        urls.parse(text, ports={80, 443, 8080})
    assert caught.value.rule == rule
    assert caught.value.detail.endswith(".")


@pytest.mark.parametrize(
    ("text", "href"),
    [
        ("HTTP://Example.COM", "http://example.com/"),
        ("http://example.com:80/a/../b.jpg#top", "http://example.com/b.jpg"),
        ("https://example.com:443/?b=1&a=2", "https://example.com/?b=1&a=2"),
        ("http://münchen.example/ä.jpg", "http://xn--mnchen-3ya.example/%C3%A4.jpg"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("http://2130706433/", "http://127.0.0.1/"),
        ("http://１２７.1/", "http://127.0.0.1/"),
        ("http://a\\b", "http://a/b"),
        ("http://a/%7e", "http://a/%7e"),
    ],
)
def test_spellings_of_one_url_become_one(text: str, href: str) -> None:
    assert urls.parse(text).href == href


@given(st.text(max_size=60).map(lambda tail: "http://example.com/" + tail) | st.text(max_size=60).map("http://".__add__))
def test_the_canonical_form_is_settled_and_carries_nothing_that_mends(text: str) -> None:
    try:
        url = urls.parse(text)
    except UrlRefused:
        return
    assert urls.parse(url.href) == url
    assert url.href.isascii()
    assert "#" not in url.href
    assert url.host == url.host.lower()


def test_an_id_is_the_first_130_bits_of_the_hash_and_nothing_else() -> None:
    # printf %s http://example.com/ | sha256sum | xxd -r -p | base32
    assert urls.image_id("http://example.com/") == "finuajba55dfo5drzxdubgypul"
    assert urls.IMAGE_ID.fullmatch(urls.image_id("http://example.com/"))


@given(st.text(st.characters(max_codepoint=126)))
def test_ids_are_what_base32_makes_of_the_hash(href: str) -> None:
    assert urls.image_id(href) == base64.b32encode(hashlib.sha256(href.encode()).digest()[:20])[:26].decode().lower()


def test_query_values_stay_out_of_the_log() -> None:
    assert urls.without_query("http://a/b?token=secret") == "http://a/b?…"
    assert urls.without_query("http://a/b") == "http://a/b"
