"""Every connection that the fetcher's process makes is looked at, while hostile URLs, names and redirects are given to it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from shared.errors import Reason
from tests.origin import Origin, body, image, redirect
from tests.security.watched import OUTSIDE_THE_GUARD, Watched
from tests.security.world import PUBLIC, world

if TYPE_CHECKING:
    from shared.settings import Settings

pytestmark = pytest.mark.anyio

HOSTS = [
    "127.0.0.1",
    "localhost",
    "[::1]",
    "2130706433",
    "0x7f.1",
    "0.0.0.0",
    "[::ffff:127.0.0.1]",
    "10.0.0.1",
    "169.254.169.254",
    "[fd00:ec2::254]",
    "192.168.0.1",
]
NAMES = {
    "private.test": [["127.0.0.1"]],
    "private-6.test": [["::1"]],
    "mapped.test": [["::ffff:127.0.0.1"]],
    "mixed.test": [[PUBLIC, "127.0.0.1"]],
    "mixed-6.test": [["::1", PUBLIC]],
    "metadata.test": [["169.254.169.254"]],
    "inside.test": [["10.0.0.1", "192.168.0.1"]],
}


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_no_connection_is_made_that_the_guard_has_not_permitted(own_settings: Settings, loop: str) -> None:
    fetcher = Watched(loop)
    async with world(own_settings, "connections", fetching=fetcher.with_dns) as here:
        await here.works()
        here.dns.names |= NAMES
        port = here.port
        await asyncio.gather(*(here.blocked_in_the_queue(f"http://{host}:{port}/") for host in HOSTS))
        await asyncio.gather(*(here.fails(f"http://{name}:{port}/", Reason.BLOCKED, attempts=1) for name in NAMES))
        targets = [f"http://{host}:{port}/" for host in (*HOSTS, *NAMES)]
        await asyncio.gather(*(here.fails(here.on(redirect(target)), Reason.BLOCKED, attempts=1) for target in targets))
        with Origin(PUBLIC) as other:
            here.dns.names["turning.test"] = [[PUBLIC], ["127.0.0.1"]]
            await here.fails(other.on("/", redirect(f"http://turning.test:{port}/")).replace(PUBLIC, "turning.test"), Reason.BLOCKED, attempts=1)
        await here.stored(here.on(body(image("TIFF"))))  # Pillow's process is one of those that are watched over
        await here.works()
        assert not here.canaries.connections
    assert fetcher.status is None, "the fetcher connected outside the guard"


async def test_the_watch_notices_a_fetcher_without_its_guard(own_settings: Settings) -> None:
    fetcher = Watched(unguarded=True)
    async with world(own_settings, "", fetching=fetcher.with_dns) as here:
        await here.queued(f"http://127.0.0.1:{here.port}/")
        with suppress(TimeoutError):
            async with asyncio.timeout(20):
                await fetcher.process.wait()
        assert not here.canaries.connections  # it ended before the connection was made
    assert fetcher.status == OUTSIDE_THE_GUARD
