"""The whole pipeline in the test's own process and event loop, on real servers."""

from __future__ import annotations

import socket
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from services.api.main import api
from services.fetcher.main import fetcher
from services.storer.main import storer
from shared.settings import Ports, Settings
from tests.origin import Origin
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    Service = Callable[[Settings], AbstractAsyncContextManager[None]]

SETTLED = {"stored", "failed", "expanded"}


class Pipeline:
    """A client of a running pipeline."""

    def __init__(self, settings: Settings, client: httpx.AsyncClient) -> None:
        self.settings = settings
        self.client = client

    async def post(self, url: str) -> str:
        """Submits a URL, which must be accepted, and returns where to watch."""
        answer = await self.client.post("/images", json={"url": url})
        assert answer.status_code == 202, answer.text
        return answer.headers["location"]

    async def settled(self, location: str, *, seconds: float = 20.0) -> dict[str, Any]:
        """The image, once nothing more will happen to it."""

        async def ask() -> dict[str, Any] | None:
            image: dict[str, Any] = (await self.client.get(location)).raise_for_status().json()
            return image if image["status"] in SETTLED else None

        image = await until(ask, seconds=seconds)
        assert image
        return image

    async def content(self, location: str) -> bytes:
        """The copy."""
        return (await self.client.get(f"{location}/content")).raise_for_status().content


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def running(settings: Settings, services: Sequence[Service] = (storer, fetcher, api)) -> AsyncIterator[Pipeline]:
    """One api, one fetcher, one storer, and a client."""
    async with AsyncExitStack() as stack:
        for service in services:
            await stack.enter_async_context(service(settings))
        base = f"http://127.0.0.1:{settings.port}"
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=base, trust_env=False, verify=False, timeout=30))

        async def ready() -> bool:
            return (await client.get("/health/ready")).status_code == httpx.codes.OK

        await until(ready)
        yield Pipeline(settings, client)


@pytest.fixture
def settings(amqp_url: str, mongo_url: str) -> Settings:
    """Settings under which the tests' origins may be asked."""
    return Settings(
        amqp_url=amqp_url,
        mongo_url=mongo_url,
        port=free_port(),
        fetch_allow=(ip_network("127.77.0.0/16"),),
        fetch_ports=Ports([range(1, 65536)]),
        retry_delays=(0.3, 1.0, 2.0),
        grace=5.0,
    )


@pytest.fixture
async def pipeline(settings: Settings) -> AsyncIterator[Pipeline]:
    async with running(settings) as pipeline:
        yield pipeline


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin("127.77.0.1") as origin:
        yield origin
