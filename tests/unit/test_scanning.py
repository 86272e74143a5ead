"""services/fetcher/scanning.py: pages through the sandbox, and what is believed of its answers."""

from __future__ import annotations

import asyncio
import io
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import TYPE_CHECKING

import msgspec
import pytest

from services.fetcher.body import Body
from services.fetcher.download import Download
from services.fetcher.frames import Most
from services.fetcher.html import pages
from services.fetcher.html.pages import MAX_BYTES, Scan
from services.fetcher.sandbox import Page, Sandbox, Verdict
from services.fetcher.sandboxed import serve
from services.fetcher.scanning import IN_ONE_GO, Scanner, is_page
from shared import events
from shared.errors import PermanentError, Reason, TransientError
from shared.events import PageScanned
from shared.settings import Settings
from tests import galleries
from tests.origin import image

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SETTINGS = Settings(max_page_bytes=100_000, page_images=40, fetch_deny=(ip_network("198.41.0.0/16"),))
MOST = Most.of(SETTINGS)
PAGE = "https://example.com/a/page.html"


def copy(content: bytes, content_type: str | None = "text/html", *, url: str = PAGE) -> Download:
    body = Body()
    body.add(content)
    return Download(final_url=url, status=200, body=body, content_type=content_type)


class Believed(Sandbox):
    """Answers what it was told to."""

    def __init__(self, answer: Scan) -> None:
        super().__init__(MOST)
        self.answer = answer
        self.asked: Page | None = None

    async def scan(self, body: Body, page: Page) -> Scan:
        assert body.size
        self.asked = page
        return self.answer


@asynccontextmanager
async def scanner(settings: Settings = SETTINGS, *, deadline: float = 5.0) -> AsyncIterator[Scanner]:
    async with Sandbox(Most.of(settings), processes=1, deadline=deadline) as sandbox:
        yield Scanner(sandbox, settings)


async def believed(answer: Scan) -> Scan:
    return await Scanner(Believed(answer), SETTINGS).scan(copy(b"<p>"))


@pytest.mark.parametrize(
    ("content", "content_type", "page"),
    [
        (b"<!DOCTYPE html><title>x</title>", None, True),
        (b"<html><img src=x>", "image/png", False),
        (b"hello", "text/html", True),
        (b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'/>", "application/xhtml+xml", True),
        ("\ufeff<p>hello".encode("utf-16-le"), "text/html", True),
        (b"hello", "text/plain", False),
        (b"", "text/html", False),
        (b"%PDF-1.7", "text/html", False),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "text/html", False),
        (image("PNG"), "text/html", False),
        (image("PNG")[:40], "text/html", False),
    ],
)
def test_a_page_is_what_is_no_known_file_and_says_or_looks_so(content: bytes, content_type: str | None, page: bool) -> None:  # noqa: FBT001
    assert is_page(copy(content, content_type)) is page


@pytest.mark.anyio
async def test_a_page_is_scanned_in_a_process_of_its_own() -> None:
    settings = Settings()
    async with scanner(settings) as found:
        scan = await found.scan(copy(galleries.EVERY_KIND.read_bytes(), url=galleries.EVERY_KIND_URL))
    assert scan.images == galleries.EVERY_KIND_IMAGES
    assert scan.alternatives == galleries.EVERY_KIND_ALTERNATIVES
    assert (scan.skipped, scan.refused, scan.beyond) == (galleries.EVERY_KIND_SKIPPED, galleries.EVERY_KIND_REFUSED, 0)


@pytest.mark.anyio
async def test_images_and_pages_go_through_the_same_process() -> None:
    async with Sandbox(MOST, processes=1) as sandbox:
        picture, page = copy(image("TIFF", (48, 32))).body, copy(b"<img src=x.png>").body
        for _ in range(3):
            assert await sandbox.size_of(picture) == (48, 32)
            assert (await sandbox.scan(page, Page(PAGE, None, 5))).images == ["https://example.com/a/x.png"]
        assert len(sandbox.processes) == 1


@pytest.mark.anyio
async def test_a_page_without_images_is_a_page() -> None:
    async with scanner() as found:
        assert await found.scan(copy(b"hello")) == Scan(images=[])


@pytest.mark.anyio
@pytest.mark.parametrize(
    "content",
    [
        b"<html><script>alert(document.domain)</script></html>" + image("PNG"),
        b"<!--" * 250_000,
        b"<!--" + b"<svg>" * 100_000,
        b"<!-- " + b"-" * 1_000_000,
        b"<p>" + b"<?" * 500_000,
    ],
    ids=["an image after a page", "open comments", "a comment of elements", "dashes", "instructions"],
)
async def test_a_page_of_two_faces_is_a_page_without_images(content: bytes) -> None:
    page = copy(content, "application/octet-stream")
    assert is_page(page)
    async with scanner(Settings()) as found:
        assert await found.scan(page) == Scan(images=[])


@pytest.mark.anyio
async def test_the_limit_is_the_setting() -> None:
    async with scanner() as found:
        scan = await found.scan(copy(galleries.gallery(50).encode()))
    assert (len(scan.images), scan.beyond) == (40, 10)


@pytest.mark.anyio
async def test_a_page_that_is_too_large_is_not_scanned() -> None:
    sandbox = Believed(Scan(images=[]))
    with pytest.raises(PermanentError) as caught:
        await Scanner(sandbox, SETTINGS).scan(copy(b"<p>" + b" " * 100_000))
    assert caught.value.reason == Reason.TOO_LARGE
    assert "100,003 bytes" in caught.value.detail
    assert sandbox.asked is None


@pytest.mark.anyio
async def test_a_page_that_takes_too_long_is_given_up_and_the_next_is_not() -> None:
    settings = Settings()
    slow = b"<img a b c d e f g h>" * 390_000
    async with scanner(settings, deadline=0.2) as found:
        await warm(found)
        with pytest.raises(PermanentError) as caught:
            await found.scan(copy(slow))
        assert caught.value.reason == Reason.NOT_AN_IMAGE
        assert "page" in caught.value.detail
        assert (await found.scan(copy(b"<img src=/x>"))).images == ["https://example.com/x"]


async def warm(found: Scanner) -> None:
    await found.scan(copy(b"<p>"))


@pytest.mark.anyio
async def test_others_get_their_turn_while_the_urls_of_a_page_are_checked() -> None:
    images = [f"http://example.com/{number}" for number in range(40)]
    answer = Scan(images=images, alternatives={href: [f"{href}/{number}" for number in range(20)] for href in images[20:]})
    turns, done = 0, False

    async def other() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    assert (await believed(answer)) == answer
    done = True
    await task
    assert turns >= 40 // IN_ONE_GO + 20


@pytest.mark.anyio
async def test_a_sandbox_that_was_taken_over_is_not_believed() -> None:
    bad = [
        "ftp://a/b", "javascript:alert(1)", "", "x", "http://127.0.0.1/", "http://[::1]/", "http://169.254.169.254/", "http://localhost/", "http://inside/",
        "http://198.41.0.4/", "http://a.example:22/", "http://u:p@a.example/", "http://a.example/" + "x" * 2048, "http://a.example/\nb", "http://0x7f.1/",
    ]  # fmt: skip
    good = "http://a.example/x"
    found = await believed(Scan(images=[good, *bad], alternatives={good: bad, bad[0]: [good], "http://other.example/": [good]}, refused=3))
    assert found == Scan(images=[good], refused=3 + 2 * len(bad))


@pytest.mark.anyio
async def test_what_is_believed_is_canonical_and_once_and_within_the_limits() -> None:
    many = [f"http://a.example/{number}" for number in range(100)]
    found = await believed(Scan(images=["HTTP://A.example/0#x", *many], alternatives={"HTTP://A.example/0#x": many}))
    assert found.images == many[:39]
    assert set(found.alternatives) <= set(found.images)
    assert all(len(others) <= pages.MAX_ALTERNATIVES for others in found.alternatives.values())


@pytest.mark.anyio
async def test_an_answer_out_of_its_form_ends_the_process_and_not_the_fetcher() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode([0, 0, None, "", {"images": [], "refused": -1}]), type=Verdict)
    async with Sandbox(MOST, processes=1, python="/bin/yes") as sandbox:  # whose answers claim to have 2⁶² bytes
        with pytest.raises(TransientError):
            await Scanner(sandbox, SETTINGS).scan(copy(b"<p>"))
        assert not sandbox.processes


def test_a_process_answers_each_job() -> None:
    def framed(value: bytes) -> bytes:
        return len(value).to_bytes(8, "big") + value

    def asked(body: bytes, page: Page | None) -> bytes:
        return framed(msgspec.msgpack.encode(page)) + framed(body)

    sink = io.BytesIO()
    serve(
        io.BytesIO(asked(b"<img src=b>", Page("http://a.example/", None, 5)) + asked(b"", None) + asked(b"<p>", Page("http://a/", "x", 0))),
        sink,
        MOST,
    )
    answers = io.BytesIO(sink.getvalue())
    verdicts = []
    while head := answers.read(8):
        verdicts.append(msgspec.msgpack.decode(answers.read(int.from_bytes(head, "big")), type=Verdict))
    assert [verdict.page and verdict.page.images for verdict in verdicts] == [["http://a.example/b"], None, []]
    assert [verdict.reason for verdict in verdicts] == [None, Reason.NOT_AN_IMAGE, None]


def test_an_event_stays_below_its_limit_by_giving_up_alternatives_first() -> None:
    images = [f"http://a.example/{number}?" + "\\" * 2000 for number in range(1000)]
    scan = Scan(images=images, alternatives={href: [f"{href}/{number}" for number in range(20)] for href in images}, beyond=1)
    kept = pages.within(scan, MAX_BYTES)
    assert kept.images == images
    assert 0 < len(kept.alternatives) < 1000
    event = PageScanned(
        image="x", revision=1, url="u", scanned_at=datetime(2026, 1, 1, tzinfo=UTC), images=kept.images, alternatives=kept.alternatives, final_url="u"
    )
    assert len(events.encode(event).body) < 8 * 1024**2
    fewer = pages.within(scan, 1024**2)
    assert fewer.images == images[: len(fewer.images)]
    assert 0 < len(fewer.images) < 1000
    assert (fewer.alternatives, fewer.beyond) == ({}, 1 + 1000 - len(fewer.images))
