"""HTTP, cases 24 to 31: whatever an origin does, the download ends with a reason, in time, and nothing is left of it."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip as gzip_module
import itertools
import ssl
import sys
import time
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest

from shared.errors import Reason
from tests.origin import Origin, body, chunked, drip, endless_headers, gzip, head, image, raw, sequence, silent, status, truncated
from tests.security.world import ATTEMPTS, DELAYS, PUBLIC, note, world

if TYPE_CHECKING:
    from pathlib import Path

    from shared.settings import Settings
    from tests.origin import Request
    from tests.security.world import World

pytestmark = pytest.mark.anyio

PICTURE = image("PNG")
LIMIT = 1024**2
BOMB = gzip_module.compress(gzip_module.compress(b"\0" * 20_000_000))


@pytest.mark.parametrize("length", [LIMIT + 1, 10**9, 2**63, 2**64, 10**30, 10**300])
async def test_case_24_a_content_length_over_the_limit_is_given_up_unread(here: World, length: int) -> None:
    written = 0

    async def behave(_: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(head(content_type="image/png", content_length=length))
        for _chunk in range(2000):
            if writer.is_closing():
                return
            writer.write(b"x" * 65536)
            await writer.drain()
            written += 65536
        writer.close()

    # Beyond 64 bits it is no length any more, and the answer no HTTP.
    await here.fails(here.on(behave), Reason.TOO_LARGE, *([Reason.CONNECT] if length >= 2**63 else []), attempts=1)
    assert written < 2000 * 65536


@pytest.mark.parametrize("length", ["-1", "+5", "1, 2", "0x10", "ten", "1 0", ""])
async def test_case_24_a_content_length_that_is_none(here: World, length: str) -> None:
    await here.fails(
        here.on(raw(head(content_type="image/png", content_length=length) + PICTURE)), Reason.CONNECT, Reason.TRUNCATED, Reason.NOT_AN_IMAGE
    )


async def test_case_24_a_content_length_and_chunks_at_once(here: World) -> None:
    smuggled = head(content_type="image/png", content_length=5, transfer_encoding="chunked") + b"0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
    await here.fails(here.on(raw(smuggled)), Reason.CONNECT, Reason.NOT_AN_IMAGE, Reason.TRUNCATED)


async def test_case_25_a_chunked_body_over_the_limit_is_given_up_at_the_limit(here: World) -> None:
    sent = itertools.count()
    pieces = (b"x" * 65536 for _ in sent)
    started = time.monotonic()
    await here.fails(here.on(chunked(pieces)), Reason.TOO_LARGE, attempts=1)
    assert next(sent) < 500  # the limit is 16 of them; some more wait in buffers
    assert time.monotonic() - started < 4


async def test_case_25_a_body_without_length_over_the_limit_is_given_up_at_the_limit(here: World) -> None:
    await here.fails(here.on(raw(head(content_type="image/png"), *[b"x" * 65536] * 200)), Reason.TOO_LARGE, attempts=1)


async def test_case_25_chunks_of_one_byte(here: World) -> None:
    await here.stored(here.on(chunked([PICTURE[at : at + 1] for at in range(len(PICTURE))], content_type="image/png")))


@pytest.mark.parametrize("size", [b"fffffffffffffffff", b"-1", b"0x10", b"zz", b"1;" + b"x" * 100_000])
async def test_case_25_a_chunk_whose_size_is_none(here: World, size: bytes) -> None:
    answer = head(content_type="image/png", transfer_encoding="chunked") + size + b"\r\n" + PICTURE + b"\r\n0\r\n\r\n"
    await here.fails(here.on(raw(answer)), Reason.TRUNCATED, Reason.CONNECT, Reason.NOT_AN_IMAGE)


@pytest.mark.parametrize("missing", [1, len(PICTURE) // 2, len(PICTURE)])
async def test_case_26_a_body_shorter_than_its_content_length(here: World, missing: int) -> None:
    await here.fails(here.on(truncated(PICTURE, missing)), Reason.TRUNCATED, attempts=ATTEMPTS)


async def test_case_26_chunks_that_end_too_early(here: World) -> None:
    await here.fails(here.on(chunked([PICTURE], end=False)), Reason.TRUNCATED, attempts=ATTEMPTS)


async def test_case_25_many_endless_bodies_at_once_take_bounded_memory_and_disk(own_settings: Settings) -> None:
    from tests.security.watched import Watched  # noqa: PLC0415  (reads /proc)

    if sys.platform != "linux":
        pytest.skip("memory is read from /proc")
    image_bytes, disk = 16 * LIMIT, 64 * LIMIT
    settings = dataclasses.replace(own_settings, max_image_bytes=image_bytes, fetch_disk=disk, fetch_timeout=20.0)
    fetcher = Watched()
    async with world(settings, "HTTP (endless bodies)", fetching=fetcher.with_dns) as here:
        await here.works()
        before = fetcher.own_peak
        names = [f"host-{number}.test" for number in range(60)]  # each has a limit on downloads of its own
        here.dns.names |= {name: [[PUBLIC]] for name in names}
        urls = [here.on(chunked(itertools.repeat(b"x" * 65536))).replace(PUBLIC, name) for name in names]
        await asyncio.gather(*(here.fails(url, Reason.TOO_LARGE, attempts=1, seconds=60) for url in urls))
        await here.works()
        assert not here.canaries.connections
        note(endless_bodies=len(urls), of_bytes=image_bytes, memory_before=before, memory=fetcher.own_peak, disk=fetcher.disk)
    assert fetcher.status is None, "the fetcher died"
    assert image_bytes < fetcher.disk <= disk
    assert fetcher.own_peak < 60 * image_bytes / 4, f"{fetcher.own_peak:,} bytes"


async def test_case_27_one_byte_a_second(here: World) -> None:
    """One attempt takes fetch_timeout, however much life the origin shows; all of them at once, since waiting costs nothing."""
    slow = [
        here.fails(here.on(drip(PICTURE, every=0.9)), Reason.TIMEOUT, attempts=ATTEMPTS, seconds=30),
        here.fails(here.on(silent()), Reason.TIMEOUT, attempts=ATTEMPTS, seconds=30),
        here.fails(here.on(_slow_header), Reason.TIMEOUT, attempts=ATTEMPTS, seconds=30),
        here.fails(here.on(_stops), Reason.TIMEOUT, attempts=ATTEMPTS, seconds=30),
    ]
    started = time.monotonic()
    await asyncio.gather(*slow, here.stored(here.on(body(image("PNG", seed=27)))))
    assert time.monotonic() - started < ATTEMPTS * (here.settings.fetch_timeout + 1) + sum(DELAYS)


async def _slow_header(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(100):
        writer.write(b"X-%d: y\r\n" % number)
        await writer.drain()
        await asyncio.sleep(0.5)


async def _stops(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(head(content_type="image/png", content_length=len(PICTURE)) + PICTURE[:-1])
    await asyncio.Event().wait()


async def test_case_28_endless_headers(here: World) -> None:
    await here.fails(here.on(endless_headers()), Reason.CONNECT, attempts=1)


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000,
     b"HTTP/9.9 200 OK\r\n\r\n", b"\0" * 1000, b"HTTP/1.1 99999 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX\0: y\r\n\r\n", b"SSH-2.0-OpenSSH\r\n", b"\r\n" * 1000,
     b"HTTP/1.1 100 Continue\r\n\r\n" * 5000, b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"],
    ids=lambda answer: repr(answer[:30]),
)  # fmt: skip
async def test_case_28_an_answer_that_is_no_http(here: World, answer: bytes) -> None:
    await here.fails(here.on(raw(answer)), Reason.CONNECT, Reason.HTTP_STATUS, Reason.NOT_AN_IMAGE, Reason.TIMEOUT, seconds=30)


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 ", b""])
async def test_case_28_a_line_that_has_no_end(here: World, start: bytes) -> None:
    answer = raw(start + b"y" * 10_000_000)
    await here.fails(here.on(answer), Reason.CONNECT, Reason.HTTP_STATUS, Reason.NOT_AN_IMAGE, Reason.TIMEOUT, seconds=30)


@pytest.mark.parametrize("code", [404, 410, 400, 401, 403, 451])
async def test_case_29_gone_is_permanent(here: World, code: int) -> None:
    url = here.on(status(code))
    found = await here.fails(url, Reason.HTTP_STATUS, attempts=1)
    assert str(code) in found["error"]["detail"]
    assert here.origin.hits[url.removeprefix(here.origin.url(""))] == 1


@pytest.mark.parametrize("code", [429, 503, 500, 502, 504])
async def test_case_29_busy_is_retried(here: World, code: int) -> None:
    await here.stored(here.on(sequence(status(code), status(code), body(PICTURE))))
    await here.fails(here.on(status(code)), Reason.HTTP_STATUS, attempts=ATTEMPTS)


@pytest.mark.parametrize("form", ["seconds", "date", "capped", "capped date", "nonsense", "negative", "past", "huge"])
async def test_case_29_retry_after_is_obeyed_in_both_forms_and_capped(here: World, form: str) -> None:
    asked: list[float] = []
    later = {
        "seconds": "1", "date": "", "capped": "86400", "capped date": "Fri, 31 Dec 9999 23:59:59 GMT", "nonsense": "soon", "negative": "-5",
        "past": "Sun, 06 Nov 1994 08:49:37 GMT", "huge": "9" * 5000,
    }  # fmt: skip

    async def busy(request: Request, writer: asyncio.StreamWriter) -> None:
        asked.append(time.monotonic())
        # In whole seconds, so that of the one that is asked for here up to one has passed already.
        moment = format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)
        await (status(503, retry_after=later[form] or moment) if len(asked) == 1 else body(image("PNG", seed=29)))(request, writer)

    await here.stored(here.on(busy))
    waited = asked[1] - asked[0]
    # The longest delay is the cap, and here it is shorter than a second.
    assert waited < DELAYS[-1] + 2
    if form in {"seconds", "capped", "capped date"}:
        assert waited >= DELAYS[-1]


async def test_case_30_a_gzip_body_that_was_not_asked_for(here: World) -> None:
    await here.fails(here.on(gzip(PICTURE)), Reason.ENCODING, attempts=1)
    asked = here.origin.requests[-1].headers
    assert asked["accept-encoding"] == "identity"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "identity, gzip", "GZIP", "x-gzip", "compress", "gzip,,,,"])
async def test_case_30_a_bomb_in_any_coding(here: World, coding: str) -> None:
    await here.fails(here.on(body(BOMB, "image/png", content_encoding=coding)), Reason.ENCODING, attempts=1)


async def test_case_30_a_compressed_body_that_does_not_say_so(here: World) -> None:
    await here.fails(here.on(body(gzip_module.compress(PICTURE), "image/png")), Reason.NOT_AN_IMAGE, attempts=1)
    await here.fails(here.on(body(zlib.compress(PICTURE), "image/png")), Reason.NOT_AN_IMAGE, attempts=1)


async def test_case_30_a_transfer_coding_that_was_not_asked_for(here: World) -> None:
    packed = gzip_module.compress(PICTURE)
    answer = head(content_type="image/png", transfer_encoding="gzip, chunked") + b"%x\r\n%s\r\n0\r\n\r\n" % (len(packed), packed)
    await here.fails(here.on(raw(answer)), Reason.NOT_AN_IMAGE, Reason.ENCODING, Reason.CONNECT)


async def test_case_31_a_bad_certificate(here: World, certificate: Path) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    async with Origin(PUBLIC, tls=server) as origin:
        here.dns.names["a.origin.test"] = [[PUBLIC]]
        for url in (origin.on("/a", body(PICTURE)), origin.url("/a", "a.origin.test")):  # nobody vouches for it; and for the address it isn't even
            found = await here.fails(url, Reason.TLS, attempts=1)
            assert "origin.test" not in found["error"]["detail"]
        assert not origin.requests


async def test_case_31_a_server_that_breaks_off_the_handshake(here: World) -> None:
    def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    plain = Origin(PUBLIC)
    async with await asyncio.start_server(refuse, sock=plain.socket):
        await here.fails(f"https://{PUBLIC}:{plain.port}/", Reason.TLS, Reason.CONNECT)


async def test_nothing_of_one_origin_is_sent_to_another_nor_anything_of_ours(here: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for seed in (1, 2):
        await here.stored(here.on(body(image("PNG", seed=100 + seed), set_cookie="a=b", www_authenticate="Basic")))
    assert {name for request in here.origin.requests for name in request.headers} == {"host", "user-agent", "accept", "accept-encoding"}


async def test_a_name_that_only_the_url_standards_idna_has_is_asked_for(here: World) -> None:
    """☃.net is a host to browsers, and none to a stricter reader of the same name, which must have no say."""
    here.dns.names["xn--n3h.test"] = [[PUBLIC]]
    await here.stored(here.on(body(image("PNG", seed=2603))).replace(PUBLIC, "☃.test"))
    assert here.origin.requests[-1].headers["host"] == f"xn--n3h.test:{here.port}"
