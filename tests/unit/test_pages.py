"""services/fetcher/html/pages.py: which images a page has."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.fetcher.html import pages, references
from services.fetcher.html.pages import Scan
from shared import urls
from tests import galleries

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = "https://example.com/a/page.html"
X = "https://example.com/a/x.png"


def scan(html: str | bytes, *, url: str = PAGE, content_type: str | None = "text/html", limit: int = 1000) -> Scan:
    return pages.scan(html.encode() if isinstance(html, str) else html, url=url, content_type=content_type, limit=limit)


def test_a_page_with_every_kind_of_reference() -> None:
    found = scan(galleries.EVERY_KIND.read_bytes(), url=galleries.EVERY_KIND_URL)
    assert found.images == galleries.EVERY_KIND_IMAGES
    assert found.alternatives == galleries.EVERY_KIND_ALTERNATIVES
    assert (found.skipped, found.refused, found.beyond) == (galleries.EVERY_KIND_SKIPPED, galleries.EVERY_KIND_REFUSED, 0)


def test_a_gallery_has_its_images_in_their_order() -> None:
    found = scan(galleries.gallery(50))
    assert found.images == [f"https://example.com/images/{number}.png" for number in range(1, 51)]
    assert found.skipped == 1


@pytest.mark.parametrize(
    "html",
    [
        "<img src=x.png>",
        "<IMG SRC='x.png'>",
        '<img/src="x.png"/>',
        '<img alt=">" src="x.png">',
        "<img\n\tsrc\f=\r\n x.png\n>",
        "<img alt=a src=x.png src=y.png>",
        '<img alt="a"src="x.png"title="b">',
        "<img src='&#120;.png'>",
        "<img src='&#x78.png'>",
        "<img src=' \n x.png\t '>",
        "<img src='x\n.png'>",
        "<img src=./x.png>",
        "<img src=../a/./x.png>",
        "<img src=/a/x.png>",
        "<img src=//example.com/a/x.png>",
        "<img src=https:x.png>",
        "<img src=HTTPS://EXAMPLE.COM:443/a/x.png#top>",
        "<img src='\\a\\x.png'>",
        "<image src=x.png>",
        "<svg><image href=x.png></svg>",
        "<svg><image xlink:href=x.png /></svg>",
        "<svg><image href=x.png xlink:href=y.png /></svg>",
        "<svg><filter><feImage href=x.png /></filter></svg>",
        "<img srcset=x.png>",
        "<img srcset='x.png 1x'>",
        "<img srcset=',x.png,'>",
        "<picture><source srcset=x.png></picture>",
        "<picture><source data-srcset=x.png><img></picture>",
        "<img data-src=x.png>",
        "<img src='' data-src=x.png>",
        "<img src=# data-src=x.png>",
        "<img src=/img/blank.gif data-src=x.png>",
        "<img src=/placeholder-300x200.jpg data-lazy-src=x.png>",
        "<img data-original=x.png>",
        "<img data-lazy-srcset='x.png 1x'>",
        "<img data-lazy=x.png>",
        "<div uk-img data-src=x.png>",
        "<noscript><img src=x.png></noscript>",
        "<link rel='ICON' href=x.png>",
        "<link rel='shortcut icon' href=x.png>",
        "<link rel=apple-touch-icon href=x.png>",
        "<link rel=mask-icon href=x.png>",
        "<link rel=image_src href=x.png>",
        "<link rel=preload as=IMAGE href=x.png>",
        "<link rel=preload as=image imagesrcset='x.png 1x'>",
        "<link itemprop=image href=x.png>",
        "<a itemprop='url image' href=x.png>",
        "<meta property=og:image content=x.png>",
        "<meta name=og:image content=x.png>",
        "<meta property='OG:IMAGE' content=x.png>",
        "<meta property=og:image:url content=x.png>",
        "<meta property=og:image:secure_url content=x.png>",
        "<meta name=twitter:image content=x.png>",
        "<meta name=twitter:image:src content=x.png>",
        "<meta itemprop=image content=x.png>",
        "<meta name=msapplication-TileImage content=x.png>",
        "<p style='background:url(x.png)'>",
        "<p style=background:url(x.png)>",
        "<p style='background:url(&quot;x.png&quot;)'>",
        "<style>p{background:url(x.png)}</style>",
        "<style><!-- p{background:url(x.png)} --></style>",
        "<style>p{background:url(x.png)}",
        "<div data-bg=x.png>",
        "<div data-bg='url(x.png)'>",
        "<div data-background-image=x.png>",
        "<div data-background=x.png>",
        "<div data-bgset='x.png [(min-width: 1px)]'>",
        "<input type=IMAGE src=x.png>",
        "<video poster=x.png>",
        "<object type=image/png data=x.png>",
        "<embed type=image/png src=x.png>",
        "<td background=x.png>",
        "<amp-img src=x.png>",
        "<template shadowrootmode=open><img src=x.png></template>",
        "<template><template></template></template><img src=x.png>",
        "<!-- a --><!--> <!---><img src=x.png>",
        "<!-- a --!><img src=x.png>",
        "<!doctype html><?xml?></3><![CDATA[ > <img src=x.png>",
        "<svg><![CDATA[ > ]]></svg><img src=x.png>",
        "<script><!-- <script> </script> --></script><img src=x.png>",
        "<script>if (a<!--b) x</script><img src=x.png>",
        "<a b='<c' d=\"e'f\"><img src=x.png>",
        "<<img src=x.png>",
        "<base><base href=/a/><img src=x.png>",
        "<img src=x.png><base href=/a/>",
        "<base href=/a/><base href=/b/><img src=x.png>",
        "<base href=javascript:x><img src=x.png>",
        "<base href=data:,x><base href=/b/><img src=x.png>",
        "<base href=http://[><img src=x.png>",
        "<template><base href=/b/></template><img src=x.png>",
    ],
)
def test_an_image_is_found(html: str) -> None:
    assert scan(html).images == [X]
    assert scan(f"<p>{html}").images == [X]


@pytest.mark.parametrize(
    "html",
    [
        "",
        "<img",
        "<img src=x.png",
        "<img alt='src=x.png>",
        "<img src>",
        "<img src=#>",
        "<img src='   '>",
        "<img src=page.html>",
        "<base href=/b/><img src=#x>",
        "<a href=x.png>",
        "<iframe src=x.png>",
        "<script src=x.png></script>",
        "<img srcset='x.png 0w'>",
        "<img srcset='x.png 1x 2x'>",
        "<!--<img src=x.png>-->",
        "<!--<img src=x.png>",
        "<script><img src=x.png></script>",
        "<script><!--<script></script><img src=x.png></script>",
        "<textarea><img src=x.png></textarea>",
        "<title><img src=x.png>",
        "<style><img src=x.png></style>",
        "<xmp><img src=x.png></xmp>",
        "<iframe><img src=x.png></iframe>",
        "<plaintext><img src=x.png>",
        "<template><img src=x.png></template>",
        "<template><template shadowrootmode=open><img src=x.png></template></template>",
        "<template><template></template><img src=x.png></template>",
        "<template><template shadowrootmode=open></template><img src=x.png></template>",
        "<source srcset=x.png>",
        "<video><source src=x.png></video>",
        "<input src=x.png>",
        "<object data=x.png>",
        "<object type=text/html data=x.png>",
        "<div data-src=x.png>",
        "<link rel=stylesheet href=x.png>",
        "<link rel=preload as=font href=x.png>",
        "<meta name=description content=x.png>",
        "<meta property=og:image:width content=100>",
        "<style>@import url(x.png);</style>",
        "<style>@font-face{src:url(x.png)}</style>",
        "<svg><use href=#a /></svg>",
        "<p style='filter:url(x.svg#y)'>",
        "<a title='<img src=x.png>'>",
        "</img src=x.png>",
    ],
)
def test_what_is_no_image_is_not_found(html: str) -> None:
    assert scan(html) == Scan(images=[])


@pytest.mark.parametrize(
    ("src", "href"),
    [
        ("x.png?a=1&amp;b=2", "https://example.com/a/x.png?a=1&b=2"),
        ("x.png?a=1&b=2", "https://example.com/a/x.png?a=1&b=2"),
        ("x.png?a&copy=2&notit=3", "https://example.com/a/x.png?a&copy=2&notit=3"),
        ("x&copy;.png", "https://example.com/a/x%C2%A9.png"),
        ("x&copy.png", "https://example.com/a/x%C2%A9.png"),
        ("x&unknown;.png", "https://example.com/a/x&unknown;.png"),
        ("x&#128;.png", "https://example.com/a/x%E2%82%AC.png"),
        ("x&#0;&#xd800;&#x110000;&#99999999999999999999;", "https://example.com/a/x" + "%EF%BF%BD" * 4),
        ("x\0.png", "https://example.com/a/x%EF%BF%BD.png"),
        ("ä ö.png", "https://example.com/a/%C3%A4%20%C3%B6.png"),
        ("?q=ä", "https://example.com/a/page.html?q=%C3%A4"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://0x7f.1/x", "http://127.0.0.1/x"),
        ("x.png#a#b", "https://example.com/a/x.png"),
        ("x,y;z.png", "https://example.com/a/x,y;z.png"),
        ("'x.png", "https://example.com/a/'x.png"),
        ("\\\\other.example\\x.png", "https://other.example/x.png"),
    ],
)
def test_a_reference_is_resolved_as_browsers_do(src: str, href: str) -> None:
    assert scan(f'<img src="{src}">').images == [href]


@pytest.mark.parametrize(
    ("base", "href"),
    [
        ("/b/", "https://example.com/b/x.png"),
        ("b/", "https://example.com/a/b/x.png"),
        ("//cdn.example.com/c/d", "https://cdn.example.com/c/x.png"),
        ("http://other.example", "http://other.example/x.png"),
        (" /b/\n", "https://example.com/b/x.png"),
        ("?q", "https://example.com/a/x.png"),
        ("", "https://example.com/a/x.png"),
    ],
)
def test_a_base_counts_for_what_is_before_it_too(base: str, href: str) -> None:
    assert scan(f'<img src=x.png><base href="{base}">').images == [href]


@pytest.mark.parametrize(
    "src",
    [
        "ftp://a/x.png",
        "javascript:x",
        "blob:https://a/x",
        "about:blank",
        "file:///x",
        "http://",
        "http://[/x",
        "https://a:b@c/x.png",
        "x" * 3000,
        "http://a./x",
    ],
)
def test_what_may_not_be_asked_for_is_refused_and_counted_once(src: str) -> None:
    assert scan(f"<img src='{src}'><img src='{src}'>") == Scan(images=[], refused=1)


def test_data_urls_are_skipped_and_counted_once() -> None:
    assert scan("<img src=data:,x><img src=data:,x><img src=' DATA:,y'><p style='background:url(data:image/png;base64,xx=)'>") == Scan(
        images=[], skipped=3
    )


@pytest.mark.parametrize(
    ("html", "images", "alternatives"),
    [
        ("<img src=s srcset='a 1x, b 3x, c 2x'>", ["b"], {"b": ["c", "a", "s"]}),
        ("<img src=s srcset='a 100w, b 300w'>", ["b"], {"b": ["a", "s"]}),
        ("<img src=s srcset='a 0.5x'>", ["s"], {"s": ["a"]}),
        ("<img src=s srcset='data:,a 9x, javascript:b 8x'>", ["s"], {}),
        ("<img src=a srcset='a 1x, a 2x'>", ["a"], {}),
        ("<img src=tiny data-src=a>", ["a"], {"a": ["tiny"]}),
        ("<img src=s data-src=a data-srcset='b 2x'>", ["b"], {"b": ["a", "s"]}),
        ("<img src=s data-orig-file=o data-large-file=l>", ["o"], {"o": ["l", "s"]}),
        ("<picture><source srcset='a 100w'><source srcset='b 200w'><img src=s></picture>", ["b"], {"b": ["a", "s"]}),
        ("<picture><source type=image/svg+xml srcset='a 900w'><img src=s></picture>", ["s"], {"s": ["a"]}),
        ("<picture><source srcset='a 2x'></picture><img src=s>", ["a", "s"], {}),
        ("<picture><source srcset='a 2x'><img src=s><img src=t></picture>", ["a", "t"], {"a": ["s"]}),
        ("<picture><source srcset='a 2x'><picture><img src=s>", ["a", "s"], {}),
        ("<img src=s srcset='a 2x'><img src=t srcset='a 2x'>", ["a"], {"a": ["s", "t"]}),
        ("<img src=s srcset='a 2x'><img src=s>", ["a", "s"], {"a": ["s"]}),
        ("<img src=s srcset='a 2x'><noscript><img src=s></noscript>", ["a"], {"a": ["s"]}),
        ("<img src=b><img src=a><img src=./b>", ["b", "a"], {}),
        ("<p style='background:image-set(url(a) 1x, \"b\" 2x)'>", ["b"], {"b": ["a"]}),
    ],
)
def test_the_largest_of_several_sizes_is_the_image(html: str, images: list[str], alternatives: dict[str, list[str]]) -> None:
    found = scan(html, url="https://example.com/")
    assert [href.removeprefix("https://example.com/") for href in found.images] == images
    without = {key: [href.removeprefix("https://example.com/") for href in others] for key, others in found.alternatives.items()}
    assert without == {f"https://example.com/{key}": others for key, others in alternatives.items()}


def test_images_over_the_limit_are_counted() -> None:
    found = scan("".join(f"<img src={number % 7}>" for number in range(20)), limit=3)
    assert [href[-1] for href in found.images] == ["0", "1", "2"]
    assert found.beyond == 4


def test_at_most_twenty_alternatives_are_kept() -> None:
    sizes = ", ".join(f"{width} {width}w" for width in range(1, 100))
    found = scan(f"<img srcset='{sizes}'>")
    assert found.alternatives[found.images[0]] == [f"https://example.com/a/{width}" for width in range(98, 78, -1)]


def test_xhtml_is_read_as_html_but_for_elements_that_close_themselves() -> None:
    page = "<html xmlns='http://www.w3.org/1999/xhtml'><script src='a.js'/><title/><img src='x.png'/></html>"
    assert scan(page, content_type="application/xhtml+xml; charset=utf-8").images == [X]
    assert scan(page).images == []


def test_the_page_itself_is_none_of_its_images() -> None:
    assert scan("<img src=page.html><img src=#a><img src='?'>", url="https://example.com/a/page.html#x").images == [
        "https://example.com/a/page.html?"
    ]


@pytest.mark.parametrize("count", [references.MAX_CANDIDATES + 10])
def test_of_a_page_with_more_than_anybody_shows_the_rest_is_counted(count: int) -> None:
    found = scan("".join(f"<img src={number}>" for number in range(count)), limit=10)
    assert len(found.images) == 10
    assert found.beyond == count - 10


HTML = st.text("<>/=\"'& \n\0-!?,;:()#@{}ax1éimgsrculdt", max_size=400)
PIECES = st.sampled_from([
    "<img src=", "<img srcset='", "<picture>", "<source srcset=", "</picture>", "<base href=", "<style>", "</style>", "<p style='", "url(", ")", "'", '"',
    ">", "<!--", "-->", "<script>", "</script>", "<noscript>", "</noscript>", "<template>", "</template>", "<svg>", "<image href=", " 2x, ", " 300w", "/a.png",
    "//h/x", "http://h:81/ü", "data:,x", "ftp://a", "\\", "&amp;", "&#x41;", "\0", " ", "#f", "image-set(", "background:", "@import ", "{", "}", ";", "<![CDATA[",
])  # fmt: skip


@settings(deadline=None)
@given(st.binary(max_size=600) | HTML.map(str.encode) | st.lists(PIECES, max_size=40).map("".join).map(str.encode), st.integers(0, 5))
@example(b"<img src=\xff\xfe>", 1)
@example("<img src='http://[::1]:81/\udc80'>".encode("utf-8", "surrogatepass"), 1)
def test_whatever_the_bytes_the_result_is_canonical_and_within_its_limits(body: bytes, limit: int) -> None:
    found = scan(body, content_type=None, limit=limit)
    assert len(found.images) <= limit
    assert len(set(found.images)) == len(found.images)
    assert set(found.alternatives) <= set(found.images)
    for href, others in found.alternatives.items():
        assert 0 < len(others) <= pages.MAX_ALTERNATIVES
        assert href not in others
    for href in [*found.images, *(other for others in found.alternatives.values() for other in others)]:
        assert urls.parse(href).href == href


@settings(deadline=None, max_examples=30)
@given(st.lists(PIECES, min_size=1, max_size=6).map("".join))
@example("<div>")
@example("<ul><li>")
@example("<b 1><i 2>x</b>")
@example("<a b='")
@example("<img a ")
@example("<style>url('\\a")
@example('<p style=\'background:url(x)"";')
@example("<img srcset='a (,")
@example("<p data-bgset='a|")
def test_time_grows_no_faster_than_the_page(piece: str) -> None:
    size = 400_000
    started = time.process_time()
    scan(piece * (size // len(piece)))
    # A page of 8 MiB takes two seconds at most, and this is a twentieth of one: a tenth of a second, on a machine of its own.
    assert time.process_time() - started < 1.0


MALICE: dict[str, Callable[[], bytes]] = {
    "deep": lambda: b"<div>" * 1_677_721,
    "deep and broken": lambda: b"<ul><li><b>" * 762_600,
    "one tag of attributes": lambda: b"<img " + b"a " * 2**22 + b">",
    "tags of attributes": lambda: (b"<img " + b"a " * 200 + b">") * 20_000,
    "images": lambda: b"".join(b"<img src=%d>" % number for number in range(500_000)),
    "strings": lambda: (b"<p style='background:url(x)" + b'"";' * 4000 + b"'>") * 690,
    "scripts": lambda: b"<script>" + b"<!--" * 2**21,
}
"""Made when they are needed: every process of the suite would hold them."""


@pytest.mark.parametrize("name", MALICE)
def test_eight_megabytes_of_malice_end_soon(name: str) -> None:
    body = MALICE[name]()
    started = time.process_time()
    scan(body)
    # Two seconds on a machine of its own; the sandbox's deadline is five.
    assert time.process_time() - started < 5.0
