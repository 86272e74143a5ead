"""Serving the copies, cases 38 to 42: other people's bytes, on our origin, in somebody's browser."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from shared.urls import image_id
from tests.origin import body, image, status

if TYPE_CHECKING:
    import httpx

    from tests.security.world import World

pytestmark = pytest.mark.anyio

SCRIPT = b"<html><script>alert(document.domain)</script></html>"
SAFE = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",
    "cross-origin-resource-policy": "same-site",
    "referrer-policy": "no-referrer",
}


async def served(here: World, content: bytes, claimed: str = "text/html", suffix: str = "") -> httpx.Response:
    found = await here.stored(here.on(body(content, claimed), suffix))
    answer = await here.client.get(found["links"]["content"])
    assert answer.content == content
    return answer


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "ICO"])
async def test_case_38_and_42_every_answer_with_bytes_has_the_headers_that_keep_a_browser_safe(here: World, name: str) -> None:
    answer = await served(here, image(name, (32, 32), seed=38) + (SCRIPT if name != "AVIF" else b""))
    assert {header: answer.headers[header] for header in SAFE} == SAFE
    url = str(answer.url)
    headers = {"if-none-match": answer.headers["etag"]}
    others = [await here.client.get(url, headers={"range": "bytes=0-9"}), await here.client.get(url, headers=headers), await here.client.head(url)]
    assert [other.status_code for other in others] == [206, 304, 200]
    for other in others:
        assert {header: other.headers[header] for header in SAFE} == SAFE


@pytest.mark.parametrize(
    "path",
    ["/images/{id}", "/images", "/images?limit=x", "/nowhere", "/images/{id}/content", "/images/{unknown}", "/docs", "/stats", "/dead-letters"],
)
async def test_case_38_no_answer_is_sniffed_or_reflects_what_was_asked_as_html(here: World, path: str) -> None:
    location = (await here.pipeline.post(here.on(status(404)))).removeprefix("/images/")
    probe = "<script>alert(1)</script>"
    url = path.format(id=location, unknown=image_id("x"))
    for target in (url, f"{url}{'&' if '?' in url else '?'}{probe}={probe}", f"{url}/{probe}"):
        answer = await here.client.get(target, headers={"x-probe": probe, "referer": f"http://x/{probe}", "accept": "text/html"})
        assert answer.status_code < 500
        kind = answer.headers.get("content-type", "")
        assert answer.headers.get("x-content-type-options") == "nosniff" or "json" in kind or "html" in kind, target
        if "html" in kind:
            assert probe not in answer.text


@pytest.mark.parametrize(
    "claimed",
    ["text/html", "image/svg+xml", "application/xhtml+xml", "text/javascript", "image/png\r\nX-Evil: 1", "multipart/x-mixed-replace; boundary=x"],
)
async def test_case_39_the_type_is_that_of_what_was_recognised(here: World, claimed: str) -> None:
    answer = await served(here, image("GIF", seed=39) + SCRIPT, claimed, suffix=".html")
    assert answer.headers["content-type"] == "image/gif"
    assert "x-evil" not in answer.headers


@pytest.mark.parametrize(
    "suffix",
    ['/a"b.png', "/a%0d%0aX-Evil:1.png", "/a%22;filename=evil.html", "/..%2f..%2fetc%2fpasswd", "/%00.html", "/a.html", "/" + "x" * 1900, "/ä.svg", "/%F0%9F%92%A9", "/;x=y", "/CON", "/.htaccess"],
)  # fmt: skip
async def test_case_39_the_files_name_is_harmless_whatever_the_url_is(here: World, suffix: str) -> None:
    answer = await served(here, image("PNG", seed=39), suffix=suffix if suffix.isascii() and '"' not in suffix else "/plain.html")
    disposition = answer.headers["content-disposition"]
    assert disposition.isascii()
    assert "x-evil" not in answer.headers
    assert disposition.startswith("inline; filename=")
    name = disposition.split('"')[1]
    assert name.endswith(".png")
    assert not set(name) & set("/\\\r\n\0%")
    assert disposition.count('"') == 2


@pytest.mark.parametrize(
    "image", ["x", "a" * 25, "a" * 27, "A" * 26, "1" * 26, "a" * 25 + "%00", "$gt", "[$ne]", "null", "%7B%22$gt%22:%22%22%7D", "a" * 5000, "a" * 26, "..%2f..%2fetc%2fpasswd"]
)  # fmt: skip
async def test_case_40_a_bad_id(answering: World, image: str) -> None:
    for path in (f"/images/{image}", f"/images/{image}/content"):
        for method in ("GET", "HEAD"):
            answer = await answering.client.request(method, path)
            assert answer.status_code == 404
            if method == "GET":
                assert answer.headers["content-type"] == "application/problem+json"


async def test_case_41_etag_304_and_head(here: World) -> None:
    answer = await served(here, image("PNG", seed=41))
    url, etag = str(answer.url), answer.headers["etag"]
    for condition in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        again = await here.client.get(url, headers={"if-none-match": condition})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert (await here.client.get(url, headers={"if-none-match": '"x"'})).status_code == 200
    headed = await here.client.head(url)
    assert (headed.status_code, headed.content) == (200, b"")
    assert {**headed.headers, "date": ""} == {**answer.headers, "date": ""}


@pytest.mark.parametrize("name", ["range", "if-none-match", "if-range", "if-modified-since", "accept", "authorization"])
async def test_case_41_a_header_of_any_size_is_read_in_linear_time(here: World, name: str) -> None:
    answer = await served(here, image("PNG", seed=42))
    for value in ("bytes=" + "0-1," * 10_000, '"' + "a" * 40_000, "bytes=" + "9" * 40_000 + "-", "," * 40_000, 'W/"' * 15_000, "Mon," * 10_000):
        started = time.monotonic()
        found = await here.client.get(str(answer.url), headers={name: value, **({"range": "bytes=0-1"} if name == "if-range" else {})})
        assert found.status_code in {200, 206, 304, 400, 401, 413, 416, 431}
        assert time.monotonic() - started < 1
