"""docs/operations.md: its commands, in their order, on a `bowerbird up` with servers of its own, that is stopped, copied and put back."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from services.local import ports
from tests.documents import Shell, follow
from tests.e2e.conftest import free_port
from tests.origin import Origin, body, image
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]


class Up:
    """A `bowerbird up` in a folder, to be started and stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", trust_env=False, timeout=10)
        self._process: asyncio.subprocess.Process | None = None
        data = folder / ".bowerbird"
        data.mkdir()
        (data / "ports.json").write_text(json.dumps(dataclasses.asdict(ports.of_tests())), "ascii")

    @property
    def environ(self) -> Mapping[str, str]:
        """Of it, and of a command line that asks it."""
        ours = {"PORT": str(self.port), "FETCH_ALLOW": "127.0.0.1/32", "FETCH_PORTS": "1-65535", "FETCHERS": "1", "URL": str(self.client.base_url)}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BOWERBIRD_")}
        return {**kept, **{f"BOWERBIRD_{name}": value for name, value in ours.items()}, "PYTHONPATH": str(ROOT)}

    async def start(self) -> None:
        with (self.folder / "output").open("ab") as output:
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services", "up", cwd=self.folder, env=self.environ, stdout=output, stderr=output
            )

        async def ready() -> bool:
            assert process.returncode is None, (self.folder / "output").read_text()
            try:
                return (await self.client.get("/health/ready")).status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        await until(ready, seconds=90)

    async def stop(self) -> None:
        if self._process and self._process.returncode is None:
            self._process.send_signal(signal.SIGINT)
            assert await self._process.wait() == 0


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Up]:
    up = Up(tmp_path)
    await up.start()
    try:
        yield up
    finally:
        await up.stop()
        await up.client.aclose()


async def test_what_operations_says_comes_to_pass(up: Up) -> None:
    async with Origin("127.0.0.1") as origin, Shell(up.folder, up.environ) as shell:
        before, after = (origin.on(path, body(image("PNG", seed=seed))) for seed, path in enumerate(("/before.png", "/after.png")))

        async def submit(url: str) -> None:
            where = (await up.client.post("/images", json={"url": url})).raise_for_status().headers["location"]

            async def stored() -> bool:
                return bool((await up.client.get(where)).json()["status"] == "stored")

            await until(stored)

        async def something_happens() -> None:
            await up.start()
            await submit(after)
            await up.stop()

        await submit(before)
        instead = {
            "127.0.0.1:8000": f"127.0.0.1:{up.port}",
            "127.0.0.1:8080": f"127.0.0.1:{origin.port}",
            ".venv/bin/bowerbird": f"{sys.executable} -m services",
        }
        then = {"it is stopped": up.stop, "something happens, and it is stopped": something_happens, "it is started": up.start}
        assert await follow(ROOT / "docs" / "operations.md", shell, instead=instead, then=then) > 10
        assert (await up.client.get("/images", params={"url": after})).status_code == 404
        [found] = (await up.client.get("/images", params={"status": "stored"})).json()["items"]
        assert found["source_url"] == before
        assert (await up.client.get(found["stored_url"])).content == image("PNG", seed=0)
