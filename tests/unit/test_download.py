"""Whatever an origin does, a download ends with its bytes or with a DownloadError that says why, in time and in little memory."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import itertools
import logging
import shutil
import ssl
import subprocess
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import TYPE_CHECKING

import aiohttp
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fetcher.download import USER_AGENT, Download, Downloader
from services.fetcher.failures import translate
from services.fetcher.limits import Limits
from services.fetcher.retry_after import MOST, retry_after
from shared import urls
from shared.errors import DownloadError, PermanentError, Reason, TransientError
from shared.settings import Settings
from shared.telemetry import Json
from tests.origin import (
    Origin,
    Request,
    body,
    chunked,
    drip,
    endless_headers,
    gzip,
    head,
    held,
    image,
    raw,
    redirect,
    sequence,
    silent,
    status,
    truncated,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

    from tests.origin import Behaviour

SETTINGS = Settings(fetch_allow=(ip_network("127.77.0.0/16"),), max_image_bytes=100_000, fetch_timeout=20.0)
PICTURE = image("PNG")
LIMITS = Limits()


async def dns(_: str) -> Sequence[str]:
    return ["127.77.0.1"]


@contextlib.asynccontextmanager
async def started(
    settings: Settings = SETTINGS, *, limits: Limits = LIMITS, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[tuple[Origin, Downloader]]:
    async with (
        Origin("127.77.0.1") as origin,
        Downloader(settings, lookup=dns, limits=limits, tls=tls) as downloader,
    ):
        yield origin, downloader


async def get(behaviour: Behaviour, settings: Settings = SETTINGS, limits: Limits = LIMITS) -> Download:
    async with started(settings, limits=limits) as (origin, downloader):
        return await downloader.download(urls.parse(origin.on("/a", behaviour)))


async def failure(behaviour: Behaviour, settings: Settings = SETTINGS, limits: Limits = LIMITS) -> DownloadError:
    with pytest.raises(DownloadError) as caught:
        await get(behaviour, settings, limits)
    return caught.value


@pytest.mark.anyio
async def test_a_download_has_the_bytes_their_hash_and_what_the_origin_says_of_them() -> None:
    async with started() as (origin, downloader):
        url = origin.on("/a", body(PICTURE, "image/png", etag='"x"', last_modified="Mon, 01 Jan 2024 00:00:00 GMT"))
        copy = await downloader.download(urls.parse(url))
        assert (copy.final_url, copy.status, copy.content_type) == (url, 200, "image/png")
        assert (copy.etag, copy.last_modified) == ('"x"', "Mon, 01 Jan 2024 00:00:00 GMT")
        assert (copy.body.content, copy.body.sha256) == (PICTURE, hashlib.sha256(PICTURE).hexdigest())


@pytest.mark.anyio
async def test_the_request_says_who_asks_and_carries_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.77.0.1 login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    async with started() as (origin, downloader):
        origin.on("/a", body(PICTURE, set_cookie="a=b"))
        for _ in range(2):
            await downloader.download(urls.parse(origin.url("/a")))
        assert [request.headers for request in origin.requests] == 2 * [
            {
                "host": f"127.77.0.1:{origin.port}",
                "user-agent": USER_AGENT,
                "accept": "image/*,text/html;q=0.9,*/*;q=0.8",
                "accept-encoding": "identity",
            }
        ]


@pytest.mark.anyio
async def test_22_a_proxy_of_the_environment_is_not_contacted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Origin("127.77.0.3") as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.77.0.3:{proxy.port}")
        assert (await get(body(PICTURE))).body.content == PICTURE
        assert not proxy.connections


@pytest.mark.anyio
@pytest.mark.parametrize("target", ["/%7e/a%2Cb?x=1%2C2&y=a+b|c^", "/a//b/?q=%E2%82%AC'", "/;x=[1]?a=%20&b=%zz", "/?"])
async def test_the_url_is_asked_for_exactly_as_it_was_checked(target: str) -> None:
    async with started() as (origin, downloader):
        url = urls.parse(origin.url(target, "host.test"))
        with contextlib.suppress(DownloadError):
            await downloader.download(url)
        (request,) = origin.requests
        assert request.headers["host"] == f"host.test:{origin.port}" == f"{url.host}:{url.port}"
        assert url.href in {f"http://{request.headers['host']}{request.target}", f"http://{request.headers['host']}{request.target}?"}


@pytest.mark.anyio
async def test_the_connection_is_kept_and_used_again() -> None:
    async with started() as (origin, downloader):
        url = urls.parse(origin.on("/a", body(PICTURE)))
        for _ in range(5):
            await downloader.download(url)
        assert origin.connections == 1


@pytest.mark.anyio
async def test_many_downloads_from_one_host_run_at_once() -> None:
    gate = asyncio.Event()
    async with started() as (origin, downloader):
        url = urls.parse(origin.on("/a", held(gate, body(PICTURE))))
        tasks = [asyncio.create_task(downloader.download(url)) for _ in range(50)]
        while origin.peak["/a"] < 50:
            await asyncio.sleep(0)
        gate.set()
        assert {copy.body.content for copy in await asyncio.gather(*tasks)} == {PICTURE}


@pytest.mark.anyio
async def test_validators_are_sent_and_304_is_an_answer() -> None:
    async with started() as (origin, downloader):
        url = urls.parse(origin.on("/a", status(304, etag='"x"')))
        copy = await downloader.download(url, etag='"x"', last_modified="Mon, 01 Jan 2024 00:00:00 GMT")
        assert (copy.status, copy.body.size) == (304, 0)
        assert origin.requests[0].headers["if-none-match"] == '"x"'
        assert origin.requests[0].headers["if-modified-since"] == "Mon, 01 Jan 2024 00:00:00 GMT"


@pytest.mark.anyio
@pytest.mark.parametrize("etag", ['"a\r\nX-Evil: 1"', '"é"', "x" * 5000])
async def test_a_validator_that_can_be_no_header_is_left_out(etag: str) -> None:
    async with started() as (origin, downloader):
        await downloader.download(urls.parse(origin.on("/a", body(PICTURE))), etag=etag)
        assert not {"if-none-match", "x-evil"} & set(origin.requests[0].headers)


@pytest.mark.anyio
async def test_304_to_a_plain_request_is_a_failure() -> None:
    assert (await failure(status(304))).reason == Reason.HTTP_STATUS


@pytest.mark.anyio
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/b", "b", "//127.77.0.1:{port}/b", "http://127.77.0.1:{port}/b", "?x", "./x/../b#top", "\\b"])
async def test_20_redirects_are_followed_relative_ones_too(code: int, location: str) -> None:
    async with started() as (origin, downloader):
        url = urls.parse(origin.url("/a?first"))
        origin.on("/a", sequence(redirect(location.format(port=origin.port), code), body(PICTURE)))
        origin.on("/b", body(PICTURE))
        copy = await downloader.download(url)
        assert copy.body.content == PICTURE
        assert copy.final_url in {origin.url("/b"), origin.url("/a?x")}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("location", "target"),
    [("/ö".encode(), "/%C3%B6"), (b"/\xf6", "/%F6"), (b"/a b", "/a%20b"), (b"/a?q=\xf6", "/a?q=%F6"), (b"/x\t/b", "/x/b")],
)
async def test_20_a_location_outside_ascii_is_read_as_browsers_do(location: bytes, target: str) -> None:
    async with started() as (origin, downloader):
        url = origin.on("/from", raw(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n", close=False))
        with contextlib.suppress(DownloadError):
            await downloader.download(urls.parse(url))
        assert [request.target for request in origin.requests[1:]] == [target]


@pytest.mark.anyio
async def test_19_five_redirects_are_followed_and_six_are_not() -> None:
    async with started() as (origin, downloader):
        for hop in range(6):
            origin.on(f"/{hop}", redirect(f"/{hop + 1}"))
        origin.on("/6", body(PICTURE))
        assert (await downloader.download(urls.parse(origin.url("/1")))).body.content == PICTURE
        with pytest.raises(PermanentError) as caught:
            await downloader.download(urls.parse(origin.url("/0")))
        assert caught.value.reason == Reason.REDIRECT
        assert origin.hits["/6"] == 1


@pytest.mark.anyio
async def test_19_a_loop_is_noticed_at_once() -> None:
    async with started() as (origin, downloader):
        origin.on("/a", redirect("/b"))
        origin.on("/b", redirect("/a#x"))
        with pytest.raises(PermanentError) as caught:
            await downloader.download(urls.parse(origin.url("/a")))
        assert caught.value.reason == Reason.REDIRECT
        assert len(origin.requests) == 2


@pytest.mark.anyio
async def test_the_body_of_a_redirect_is_not_read() -> None:
    async with started(limits=Limits(answer=5.0)) as (origin, downloader):
        sent = itertools.count()
        endless = (b"x" * 65536 for _ in sent)
        pieces = itertools.chain([head(302, location="/b", content_length=10**12)], endless)
        origin.on("/b", body(PICTURE))
        assert (await downloader.download(urls.parse(origin.on("/a", raw(*itertools.islice(pieces, 500)))))).body.content == PICTURE
        assert origin.connections == 2


CERTIFICATE = [
    "openssl",
    "req",
    "-x509",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:prime256v1",
    "-nodes",
    "-subj",
    "/CN=127.77.0.1",
    "-addext",
    "subjectAltName=IP:127.77.0.1,DNS:host.test",
    "-days",
    "2",
]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for the origin that signs itself, with its key in the same file."""
    if not shutil.which("openssl"):
        pytest.skip("openssl makes the test's certificate, and is not installed")
    file = tmp_path_factory.mktemp("tls") / "certificate.pem"
    key = file.with_suffix(".key")
    subprocess.run([*CERTIFICATE, "-out", file, "-keyout", key], check=True, capture_output=True)
    file.write_text(file.read_text() + key.read_text())
    return file


def serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.mark.anyio
async def test_31_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path) -> None:
    async with Origin("127.77.0.1", tls=serving(certificate)) as origin, Downloader(SETTINGS) as downloader:
        with pytest.raises(PermanentError) as caught:
            await downloader.download(urls.parse(origin.on("/a", body(PICTURE))))
        assert caught.value.reason == Reason.TLS
        assert not origin.requests


@pytest.mark.anyio
async def test_31_a_certificate_for_another_host_is_refused_and_the_right_one_is_not(certificate: Path) -> None:
    names: list[str | None] = []
    server = serving(certificate)
    server.sni_callback = lambda _, name, __: names.append(name)
    async with Origin("127.77.0.1", tls=server) as origin:
        origin.on("/a", body(PICTURE))
        async with Downloader(SETTINGS, lookup=dns, tls=ssl.create_default_context(cafile=certificate)) as downloader:
            assert (await downloader.download(urls.parse(origin.url("/a", "host.test")))).body.content == PICTURE
            with pytest.raises(PermanentError) as caught:
                await downloader.download(urls.parse(origin.url("/a", "other.test")))
            assert caught.value.reason == Reason.TLS
    assert names == ["host.test", "other.test"]


@pytest.mark.anyio
async def test_23_from_https_to_http_is_refused_unless_it_is_allowed(certificate: Path) -> None:
    tls = ssl.create_default_context(cafile=certificate)
    async with Origin("127.77.0.1", tls=serving(certificate)) as secure, Origin("127.77.0.1") as plain:
        url = urls.parse(secure.on("/a", redirect(plain.on("/b", body(PICTURE)))))
        async with Downloader(SETTINGS, tls=tls) as downloader:
            with pytest.raises(PermanentError) as caught:
                await downloader.download(url)
            assert caught.value.reason == Reason.BLOCKED
            assert not plain.connections
        async with Downloader(dataclasses.replace(SETTINGS, fetch_downgrade=True), tls=tls) as downloader:
            assert (await downloader.download(url)).body.content == PICTURE


@pytest.mark.anyio
async def test_tls_with_a_server_that_speaks_none_fails() -> None:
    def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    plain = Origin("127.77.0.1")
    async with await asyncio.start_server(refuse, sock=plain.socket), Downloader(SETTINGS) as downloader:
        with pytest.raises(PermanentError) as caught:
            await downloader.download(urls.parse(f"https://127.77.0.1:{plain.port}/"))
        assert caught.value.reason == Reason.TLS


@pytest.mark.anyio
async def test_24_a_body_that_is_declared_too_large_is_not_read() -> None:
    error = await failure(raw(head(content_length=100_001)))  # if it were read, it would be found cut off
    assert (type(error), error.reason) == (PermanentError, Reason.TOO_LARGE)


@pytest.mark.anyio
async def test_25_a_chunked_body_is_given_up_at_the_limit() -> None:
    error = await failure(chunked(itertools.repeat(b"x" * 10_000)))
    assert (type(error), error.reason) == (PermanentError, Reason.TOO_LARGE)


@pytest.mark.anyio
async def test_a_body_of_exactly_the_limit_is_taken() -> None:
    assert (await get(chunked([b"x" * 50_000] * 2))).body.size == 100_000


@pytest.mark.anyio
async def test_27_the_total_deadline_ends_a_slow_body() -> None:
    error = await failure(drip(b"x" * 1000, every=0.01), dataclasses.replace(SETTINGS, fetch_timeout=0.1))
    assert (type(error), error.reason) == (TransientError, Reason.TIMEOUT)


@pytest.mark.anyio
@pytest.mark.parametrize("limits", [Limits(answer=0.05), Limits(idle=0.05)])
async def test_27_a_silent_origin_is_given_up(limits: Limits) -> None:
    error = await failure(silent(), limits=limits)
    assert (type(error), error.reason) == (TransientError, Reason.TIMEOUT)


@pytest.mark.anyio
async def test_27_a_body_that_stops_is_given_up() -> None:
    async def stops(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(content_length=10) + b"x")
        await asyncio.Event().wait()

    assert (await failure(stops, limits=Limits(idle=0.05))).reason == Reason.TIMEOUT


@pytest.mark.anyio
@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 451, 204, 206, 300, 304, 999])
async def test_29_a_status_that_will_not_change_is_permanent(code: int) -> None:
    error = await failure(status(code))
    assert (error.reason, str(code) in error.detail) == (Reason.HTTP_STATUS, True)
    assert isinstance(error, PermanentError) == (code < 500)


@pytest.mark.anyio
@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
async def test_29_a_status_that_may_pass_is_transient_and_says_when_to_come_again(code: int) -> None:
    error = await failure(status(code, retry_after="120"))
    assert isinstance(error, TransientError)
    assert (error.reason, error.retry_after) == (Reason.HTTP_STATUS, 120)


@pytest.mark.anyio
@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "br", "zstd", "identity, GZIP"])
async def test_30_an_encoded_body_is_refused(coding: str) -> None:
    error = await failure(body(PICTURE, content_encoding=coding))
    assert (type(error), error.reason) == (PermanentError, Reason.ENCODING)


@pytest.mark.anyio
@pytest.mark.parametrize("coding", ["identity", "none", "utf-8", "aws-chunked", ""])
async def test_30_a_coding_that_is_none_is_ignored(coding: str) -> None:
    assert (await get(body(PICTURE, content_encoding=coding))).body.content == PICTURE


@pytest.mark.anyio
async def test_33_an_empty_body_is_a_download() -> None:
    assert (await get(body(b""))).body.content == b""


@pytest.mark.anyio
async def test_the_end_of_the_connection_ends_a_body_without_length() -> None:
    assert (await get(raw(head(), PICTURE))).body.content == PICTURE


@pytest.mark.anyio
async def test_a_refused_connection_may_pass() -> None:
    async with Origin("127.77.0.99") as gone:  # an address of its own, or another test may take the port
        url = urls.parse(gone.url("/"))
    async with Downloader(SETTINGS) as downloader:
        with pytest.raises(TransientError) as caught:
            await downloader.download(url)
    assert caught.value.reason == Reason.CONNECT


@pytest.mark.anyio
async def test_cancelling_leaves_no_connection() -> None:
    async with started() as (origin, downloader):
        task = asyncio.create_task(downloader.download(urls.parse(origin.on("/a", silent()))))
        while not origin.hits["/a"]:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await downloader.download(urls.parse(origin.on("/b", body(PICTURE))))).body.content == PICTURE
        assert origin.connections == 2


HOSTILE = {
    "closes at once": raw(),
    "not HTTP": raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "no header": raw(b"\x00\xff" * 500),
    "half a header": raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "status of letters": raw(b"HTTP/1.1 abc OK\r\n\r\n"),
    "huge status": raw(b"HTTP/1.1 99999 OK\r\n\r\n"),
    "negative length": raw(head(content_length=-1) + b"x"),
    "length of letters": raw(head(content_length="ten") + b"x"),
    "length without end": raw(head(content_length="9" * 5000) + b"x"),
    "two lengths": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
    "length and chunks": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
    "bad chunk": raw(head(transfer_encoding="chunked") + b"zz\r\nxx"),
    "huge chunk": raw(head(transfer_encoding="chunked") + b"f" * 100 + b"\r\nxx"),
    "chunks cut off": chunked([b"x" * 10], end=False),
    "unknown transfer coding": raw(head(transfer_encoding="gzip") + b"x"),
    "endless headers": endless_headers(),
    "endless line": raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000),
    "NUL in a header": raw(b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n"),
    "folded header": raw(b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
    "interim answers": raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "switching protocols": raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    "HTTP/2": raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "cut off": truncated(PICTURE),
    "gzip": gzip(PICTURE),
    "no Location": status(302),
    "empty Location": raw(b"HTTP/1.1 302 Found\r\nLocation:\r\nContent-Length: 0\r\n\r\n", close=False),
    "Location without sense": redirect("http://[::"),
    "Location with a bad port": redirect("http://127.77.0.1:99999/"),
    "Location without end": raw(b"HTTP/1.1 302 Found\r\nLocation: /" + b"x" * 7000 + b"\r\nContent-Length: 0\r\n\r\n"),
    "Location without host": redirect("http://"),
    "long label": redirect(f"http://{'a' * 70}.test:1/"),
    "cookies": raw(head(500, set_cookie="=;=;\x7f", content_length=0)),
    "encoded in nothing known to us": body(PICTURE, code=500, content_encoding="br"),
}  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize("name", HOSTILE)
async def test_no_other_error_escapes(name: str, caplog: pytest.LogCaptureFixture) -> None:
    try:
        await get(HOSTILE[name], limits=Limits(answer=2.0, idle=2.0))
    except DownloadError as error:
        assert error.detail.endswith(".")  # noqa: PT017  (some of these are tolerated, and that is as good)
    assert "unforeseen" not in caplog.text


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("closes at once", TransientError, Reason.CONNECT),
        ("not HTTP", PermanentError, Reason.CONNECT),
        ("endless headers", PermanentError, Reason.CONNECT),
        ("endless line", PermanentError, Reason.CONNECT),
        ("cut off", TransientError, Reason.TRUNCATED),
        ("chunks cut off", TransientError, Reason.TRUNCATED),
        ("gzip", PermanentError, Reason.ENCODING),
        ("no Location", PermanentError, Reason.REDIRECT),
        ("Location without sense", PermanentError, Reason.REDIRECT),
    ],
)
async def test_21_26_28_30_misbehaviour_has_its_reason(name: str, kind: type[DownloadError], reason: Reason) -> None:
    error = await failure(HOSTILE[name])
    assert (type(error), error.reason) == (kind, reason)


@pytest.mark.parametrize(
    "error",
    [aiohttp.ServerDisconnectedError(), aiohttp.ClientPayloadError(), aiohttp.InvalidURL("x"), httpx.ReadError("x"), httpx.ConnectTimeout("x"),
     TimeoutError(), OSError(24, "Too many open files"), ssl.SSLError(), ConnectionResetError(), RuntimeError(), UnicodeError(), KeyError("x")],
)  # fmt: skip
def test_every_exception_has_a_translation(error: Exception) -> None:
    assert isinstance(translate(error), DownloadError)
    assert isinstance(translate(error, in_body=True), DownloadError)


SAID = "http://host.test/a?key=secret"


def test_what_a_library_says_of_an_unforeseen_failure_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    try:
        try:
            raise KeyError(SAID)
        except KeyError as error:
            raise ValueError(SAID) from error
    except ValueError as error:
        translate(error)
    (record,) = caplog.records
    written = "".join(formatter.format(record) for formatter in (logging.Formatter(), Json()))
    assert "secret" not in written
    assert "builtins.ValueError" in written
    assert "builtins.KeyError" in written
    assert "test_download.py" in written


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0), ("120", 120), (" 7 ", 7), ("007", 7), ("9" * 9, MOST), ("9" * 10_000, MOST), (None, None), ("", None), ("-1", None), ("1.5", None),
        ("soon", None), ("١٢", None),
        ("Fri, 02 Jan 2026 03:05:05 GMT", 60), ("Friday, 02-Jan-26 03:05:05 GMT", 60), ("Fri Jan  2 03:05:05 2026", 60),
        ("Fri, 02 Jan 2026 03:04:04 GMT", 0), ("Sun, 06 Nov 1994 08:49:37 GMT", 0), ("Fri, 31 Dec 9999 23:59:59 GMT", MOST),
        ("Fri, 99 Jan 2026 03:05:05 GMT", None), ("Fri, 02 Jan 99999999999 03:05:05 GMT", None),
    ],
)  # fmt: skip
def test_29_both_forms_of_retry_after_are_read(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,9} (Jan|Dec) -?[0-9]{1,12} [0-9]{1,4}:[0-9]{2}:[0-9]{2} [+-]?[A-Z0-9]{1,9}"))
def test_29_any_retry_after_gives_seconds_within_bounds_or_nothing(value: str) -> None:
    found = retry_after(value, NOW)
    assert found is None or 0 <= found <= MOST
