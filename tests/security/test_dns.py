"""DNS, cases 13 to 16: the address that is checked is the address that is dialled, whatever a name says next."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import sys
import time
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from services.fetcher.download import Downloader
from shared import urls
from shared.errors import Reason, UrlRefused
from shared.settings import Settings
from tests.origin import Origin, body, image, redirect, status
from tests.security.dns import SERVER_FAILURE, SILENCE
from tests.security.world import ATTEMPTS, LIMITS, PUBLIC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.security.world import World

pytestmark = pytest.mark.anyio


async def test_case_13_public_on_the_first_lookup_and_private_on_the_second(here: World) -> None:
    here.dns.names["rebinding.test"] = [[PUBLIC], ["127.0.0.1"]]
    url = here.on(body(image("PNG"))).replace(PUBLIC, "rebinding.test")
    asked = here.dns.asked["rebinding.test"]
    await here.stored(url)
    assert here.dns.asked["rebinding.test"] == asked + 1  # one connection, one lookup: there is no second one to lie to
    # From here on the name is private, and the connection that was checked is the only way to be served.
    for _ in range(3):
        await here.stored(here.on(body(image("PNG"))).replace(PUBLIC, "rebinding.test"))
    assert not here.canaries.connections


async def test_case_13_a_name_that_turns_private_before_the_redirect(here: World) -> None:
    with Origin(PUBLIC) as first:
        here.dns.names["turning.test"] = [[PUBLIC], ["127.0.0.1"]]
        url = first.url("/a", "turning.test")
        # Another port is another connection, for which the name is looked up again.
        first.on("/a", redirect(f"http://turning.test:{here.port}/b"))
        await here.fails(url, Reason.BLOCKED, attempts=1)
        assert here.dns.asked["turning.test"] == 2
        assert first.hits["/a"] == 1


async def test_case_13_a_name_that_turns_private_before_the_retry(here: World) -> None:
    with Origin(PUBLIC) as first:
        # The connection is closed after each answer, and the name looked up anew when what aiohttp keeps has been forgotten.
        here.dns.names["retried.test"] = [[PUBLIC], ["127.0.0.1"], ["::1"]]
        await here.fails(first.on("/a", status(503, connection="close")).replace(PUBLIC, "retried.test"), Reason.HTTP_STATUS, Reason.BLOCKED)
        assert first.hits["/a"] >= 1


@pytest.mark.parametrize("answers", [[["127.0.0.1"], [PUBLIC]], [["127.0.0.1"], [PUBLIC], ["127.0.0.1"]]])
async def test_case_13_private_on_the_first_lookup_and_public_on_the_second(here: World, answers: list[list[str]]) -> None:
    name = f"late-{len(answers)}.test"
    here.dns.names[name] = list(answers)
    await here.fails(f"http://{name}:{here.port}/x", Reason.BLOCKED, attempts=1)
    assert not here.origin.hits["/x"]


@pytest.mark.parametrize(
    "answer",
    [[PUBLIC, "127.0.0.1"], ["127.0.0.1", PUBLIC], [PUBLIC, "::1"], ["::1", PUBLIC], [PUBLIC, "10.0.0.1"], [PUBLIC] * 20 + ["127.0.0.1"],
     ["93.184.215.14", "127.0.0.1"], [PUBLIC, "::ffff:127.0.0.1"], [PUBLIC, "169.254.169.254"], [PUBLIC, "0.0.0.0"]],
    ids=lambda answer: f"{len(answer)}, {answer[0]}, {answer[-1]}",
)  # fmt: skip
async def test_case_14_an_answer_that_mixes_public_and_private(here: World, answer: list[str]) -> None:
    name = f"mixed-{abs(hash(tuple(answer)))}.test"
    here.dns.names[name] = [answer]
    await here.fails(f"http://{name}:{here.port}/mixed", Reason.BLOCKED, attempts=1)
    assert not here.origin.hits["/mixed"]


async def test_case_15_a_name_that_does_not_exist(here: World) -> None:
    started = time.monotonic()
    found = await here.fails(f"http://no-such-name.test:{here.port}/", Reason.DNS, attempts=1)
    assert time.monotonic() - started < 5
    assert "does not exist" in found["error"]["detail"]


async def test_case_15_a_dns_that_is_silent(here: World) -> None:
    here.dns.names["silent.test"] = SILENCE
    started = time.monotonic()
    found = await here.fails(f"http://silent.test:{here.port}/", Reason.DNS, attempts=ATTEMPTS)
    assert time.monotonic() - started < ATTEMPTS * (LIMITS.dns + 1) + 3
    assert "in time" in found["error"]["detail"]


async def test_case_15_a_dns_that_fails(here: World) -> None:
    here.dns.names["failing.test"] = SERVER_FAILURE
    await here.fails(f"http://failing.test:{here.port}/", Reason.DNS, attempts=ATTEMPTS)


async def test_case_15_a_name_without_addresses(here: World) -> None:
    here.dns.names["empty.test"] = [[]]
    await here.fails(f"http://empty.test:{here.port}/", Reason.DNS)


@pytest.mark.parametrize(
    "answer",
    [["127.0.0.1"], ["::1"], ["127.0.0.1", "::1"], ["10.0.0.1", "192.168.0.1"], ["0.0.0.0"], ["::"], ["::ffff:127.0.0.1"], ["169.254.169.254"]],
    ids=str,
)
async def test_case_16_all_private(here: World, answer: list[str]) -> None:
    name = f"private-{abs(hash(tuple(answer)))}.test"
    here.dns.names[name] = [answer]
    found = await here.fails(f"http://{name}:{here.port}/", Reason.BLOCKED, attempts=1)
    assert not any(part in found["error"]["detail"] for part in (*answer, name))


async def test_case_16_the_answer_does_not_tell_whether_the_private_port_is_open(here: World) -> None:
    """The words are the same for a listener and for none, and no connection is there to take another time."""
    here.dns.names["inside.test"] = [["127.0.0.1"]]
    with Origin(PUBLIC) as other:  # a port on which 127.0.0.1 has no listener
        found = [await here.fails(f"http://inside.test:{port}/", Reason.BLOCKED, attempts=1) for port in (here.port, other.port)]
    assert found[0]["error"] == found[1]["error"]


# Checked host = dialled host = Host header = TLS name


label = st.text(st.sampled_from("abcxyzABC019-_~!$&'()*+,;=äßİ。é☃%41"), min_size=1, max_size=12)


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(host=label, path=st.text(st.sampled_from("ab/.%?;=é&2eE~'\"{}|^"), max_size=20))
def test_the_host_that_is_checked_is_dialled_named_in_the_request_and_in_tls(certificate: Path, host: str, path: str) -> None:
    try:
        url = urls.parse(f"https://{host}.origin.test/{path}")
    except UrlRefused:
        return
    checked: list[str] = []
    names: list[str | None] = []
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    server.sni_callback = lambda _, name, __: names.append(name)

    async def lookup(asked: str) -> Sequence[str]:
        checked.append(asked)
        return [PUBLIC]

    async def run() -> Origin:
        async with Origin(PUBLIC, tls=server) as origin:
            settings = Settings(fetch_allow=(ip_network("127.77.0.0/16"),))
            async with Downloader(settings, lookup=lookup, tls=ssl.create_default_context(cafile=certificate)) as downloader:
                try:
                    await downloader.download(urls.parse(url.href.replace(url.host, f"{url.host}:{origin.port}", 1)))
                except Exception as error:  # noqa: BLE001  (404, or a name that TLS can't carry: what counts is what was sent)
                    del error
            return origin

    origin = asyncio.run(run())
    assert checked == [url.host]
    if not origin.requests:  # refused before the request: a name that no certificate can have
        return
    [request] = origin.requests
    assert names == [url.host]
    assert request.headers["host"] == f"{url.host}:{origin.port}"
    assert url.href.removeprefix(f"https://{url.host}").removesuffix("?") == request.target.removesuffix("?")


# The system's own resolver, on a machine where it can be pointed at the tests' DNS


@pytest.mark.skipif(sys.platform != "linux", reason="mount namespaces are Linux's")
def test_case_13_to_16_hold_for_the_systems_resolver_too(tmp_path: Path) -> None:
    """The resolver reads /etc/hosts: in a mount namespace of its own the process has one with names for loopback."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 private.test mixed.test\n127.77.0.1 public.test mixed.test\n::1 six.test\n")
    script = (
        "import asyncio, sys\n"
        "from ipaddress import ip_network\n"
        "from services.fetcher.guard import Guard, GuardedResolver, SystemLookup\n"
        "async def main():\n"
        "    resolver = GuardedResolver(Guard([ip_network('127.77.0.0/16')]), SystemLookup())\n"
        "    for name in sys.argv[1:]:\n"
        "        try:\n"
        "            print(name, [found['host'] for found in await resolver.resolve(name)])\n"
        "        except Exception as error:\n"
        "            print(name, error.reason)\n"
        "asyncio.run(main())\n"
    )
    names = ["private.test", "mixed.test", "public.test", "six.test"]
    command = f'mount --bind "{hosts}" /etc/hosts && exec "$@"'
    run = ["unshare", "--mount", "--map-root-user", "sh", "-c", command, "sh", sys.executable, "-c", script, *names]
    if not shutil.which("unshare") or subprocess.run([*run[:3], "true"], check=False, capture_output=True).returncode:
        pytest.skip("this user may make no mount namespace")
    done = subprocess.run(run, cwd=Path(__file__).parents[2], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["private.test blocked", "mixed.test blocked", "public.test ['127.77.0.1']", "six.test blocked"]
