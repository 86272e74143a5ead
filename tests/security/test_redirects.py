"""Redirects and proxies, cases 17 to 23: every hop passes all the rules again."""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from services.fetcher.download import Downloader
from services.fetcher.main import fetcher
from shared.errors import Reason
from tests.origin import Origin, body, image, raw, redirect, sequence, status
from tests.security.world import LIMITS, PUBLIC, world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from shared.settings import Settings
    from tests.security.dns import Dns
    from tests.security.world import World

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0.0.0.0", "inside.test", "127。0。0。1"]
)
async def test_case_17_to_a_private_address(here: World, host: str) -> None:
    here.dns.names["inside.test"] = [["127.0.0.1"]]
    urls = [here.on(redirect(f"http://{host}:{here.port}/secret", code)) for code in (301, 302, 303, 307, 308)]
    await asyncio.gather(*(here.fails(url, Reason.BLOCKED, attempts=1) for url in urls))


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://100.100.100.200/", "http://168.63.129.16/", "//169.254.169.254/",
               "http://metadata.test/", "http://[::ffff:169.254.169.254]/", "http://0xa9fea9fe/"]
)  # fmt: skip
async def test_case_17_to_a_metadata_address(here: World, target: str) -> None:
    here.dns.names["metadata.test"] = [["169.254.169.254"]]
    await here.fails(here.on(redirect(target)), Reason.BLOCKED, attempts=1)


async def test_case_17_to_a_private_address_after_several_good_hops(here: World) -> None:
    url = here.on(redirect(f"http://127.0.0.1:{here.port}/"))
    for _ in range(4):
        url = here.on(redirect(url))
    await here.fails(url, Reason.BLOCKED, attempts=1)


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "file:/etc/passwd", "ftp://127.77.0.1/x", "gopher://127.77.0.1/", "data:image/png;base64,iVBORw0KGgo=", "javascript:alert(1)",
               "http://127.77.0.1:22/", "http://user:password@127.77.0.1/", "http://host.test./", "ws://127.77.0.1/", "about:blank", "FILE:///etc/passwd"]
)  # fmt: skip
async def test_case_18_to_another_scheme_or_outside_the_other_rules(here: World, target: str) -> None:
    await here.fails(here.on(redirect(target)), Reason.BLOCKED, attempts=1)


async def test_case_19_a_loop(here: World) -> None:
    first = here.on(status(404))
    second = here.on(redirect(first + "#again"))
    here.origin.on(first.removeprefix(here.origin.url("")), redirect(second))
    await here.fails(first, Reason.REDIRECT, attempts=1)
    assert here.origin.hits[first.removeprefix(here.origin.url(""))] == 1


async def test_case_19_to_itself_with_another_query_each_time(here: World) -> None:
    count = iter(range(1000))

    async def onwards(request: object, writer: object) -> None:
        await redirect(f"?{next(count)}")(request, writer)  # type: ignore[arg-type]

    await here.fails(here.on(onwards), Reason.REDIRECT, attempts=1)
    assert next(count) == 6


async def test_case_19_five_hops_are_followed_and_six_are_not(here: World) -> None:
    url = here.on(body(image("PNG", seed=19)))
    for _ in range(5):
        url = here.on(redirect(url))
    await here.stored(url)
    await here.fails(here.on(redirect(url)), Reason.REDIRECT, attempts=1)


@pytest.mark.parametrize(
    "location",
    ["/target-20", "target-20", "//{host}/target-20", "http://{host}/target-20", "./x/../target-20", "\\target-20", "?x", "http:/target-20"],
)
async def test_case_20_a_relative_location_is_followed(here: World, location: str) -> None:
    here.origin.on("/target-20", body(image("PNG", seed=20)))
    found = await here.stored(here.on(sequence(redirect(location.format(host=f"{PUBLIC}:{here.port}")), body(image("PNG", seed=20)))))
    assert found["sha256"]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_case_21_without_a_location(here: World, code: int) -> None:
    await here.fails(here.on(status(code)), Reason.REDIRECT, attempts=1)


@pytest.mark.parametrize("code", [300, 304, 305, 306])
async def test_case_21_a_3xx_that_is_no_redirect(here: World, code: int) -> None:
    await here.fails(here.on(status(code, location="/target-20")), Reason.HTTP_STATUS, attempts=1)


@pytest.mark.parametrize("location", ["http://[", "http://a b/", "http://127.77.0.1:99999/", "http://%00/", "http://exa\x00mple/"])
async def test_case_21_with_a_location_that_is_no_url(here: World, location: str) -> None:
    await here.fails(here.on(redirect(location)), Reason.REDIRECT, Reason.BLOCKED, Reason.CONNECT, attempts=1)


async def test_case_21_the_body_of_a_redirect_is_not_read(here: World) -> None:
    url = here.on(body(image("PNG", seed=21)))
    endless = raw(b"HTTP/1.1 302 Found\r\nContent-Length: 1000000000000\r\nLocation: " + url.encode() + b"\r\n\r\n", *[b"x" * 65536] * 500)
    started = time.monotonic()
    await here.stored(here.on(endless))
    assert time.monotonic() - started < 3


# A pipeline with an environment that tries to have its way: proxies, and a certificate authority for case 23.

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@pytest.fixture
async def misled(own_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[World, Origin]]:
    """A pipeline that was started with proxies in its environment, and the proxy."""
    with Origin("127.77.0.3") as proxy:
        for name in VARIABLES:
            monkeypatch.setenv(name, f"http://127.77.0.3:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "")
        async with world(own_settings, "redirects (proxies)") as found:
            yield found, proxy


async def test_case_22_a_proxy_of_the_environment(misled: tuple[World, Origin], certificate: Path) -> None:
    here, proxy = misled
    await here.stored(here.on(body(image("PNG", seed=22))))
    here.dns.names["host.test"] = [[PUBLIC]]
    await here.stored(here.on(redirect(here.on(body(image("PNG", seed=23))).replace(PUBLIC, "host.test"))))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    async with Origin(PUBLIC, tls=server) as secure:
        await here.fails(secure.url("/"), Reason.TLS, attempts=1)
        assert not secure.requests
    assert not proxy.connections
    assert not here.canaries.connections


async def test_case_23_from_https_to_http_is_refused_unless_it_is_set(own_settings: Settings, certificate: Path) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=certificate)

    for allowed in (False, True):

        def fetching(dns: Dns) -> object:
            return partial(fetcher, downloader=partial(Downloader, lookup=dns.lookup, limits=LIMITS, tls=trusting))

        settings = dataclasses.replace(own_settings, fetch_downgrade=allowed)
        async with world(settings, "redirects (https)", fetching=fetching) as here, Origin(PUBLIC, tls=server) as secure:  # type: ignore[arg-type]
            here.dns.names["secure.origin.test"] = [[PUBLIC]]
            path = f"/{allowed}"
            plain = here.on(body(image("PNG", seed=24)))
            url = secure.on(path, redirect(plain)).replace(PUBLIC, "secure.origin.test")
            if allowed:
                await here.stored(url)
            else:
                await here.fails(url, Reason.BLOCKED, attempts=1)
                assert not here.origin.connections
            assert secure.hits[path] == 1
