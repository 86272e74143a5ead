"""The stack of compose.yaml as a project of the test's own: other names, ports and networks than anybody else's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from tests.e2e.conftest import free_port
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ROOT = Path(__file__).parents[2]
READY_SECONDS = 180.0


def command() -> list[str] | None:
    """Compose v2 where it is, else docker-compose; None if there is neither."""
    if shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


class Stack:
    """A project, of these files or of compose.yaml. Clients are of what nginx publishes."""

    def __init__(self, compose: list[str], *files: str) -> None:
        self.project = f"bowerbird-test-{uuid.uuid4().hex[:8]}"
        self._compose = [*compose, "--project-name", self.project, *(f"--file={file}" for file in files)]
        self.port, self.consoles_port = free_port(), free_port()
        ours = {
            "PUBLISH": f"127.0.0.1:{self.port}",
            "CONSOLES": f"127.0.0.1:{self.consoles_port}",
            "SUBNETS": f"10.{random.randint(90, 250)}",
            "LOG_LEVEL": "warning",
            # The limit is not what is tested, and each picture that comes from the cache asks once.
            "RATE_LIMIT": "1000",
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("BOWERBIRD_", "COMPOSE_"))}
        self._environ = {**inherited, **{f"BOWERBIRD_{name}": value for name, value in ours.items()}}
        self.url = f"http://127.0.0.1:{self.port}"
        self.key = ""

    async def compose(self, *arguments: str) -> str:
        """What compose prints. Raises AssertionError with what it complained of."""
        return await _run([*self._compose, *arguments], self._environ)

    async def docker(self, *arguments: str) -> str:
        """What docker prints."""
        return await _run(["docker", *arguments], self._environ)

    async def up(self, *arguments: str) -> None:
        """Up, and ready: a URL that is submitted now gets stored."""
        await self.compose("up", "--detach", *arguments)
        async with httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=10) as client:

            async def ready() -> bool:
                try:
                    return (await client.get("/health/ready")).status_code == httpx.codes.OK
                except httpx.TransportError:
                    return False

            await until(ready, seconds=READY_SECONDS, every=0.2)
        self.key = await self.secret("api-key")

    async def secret(self, name: str) -> str:
        """One of those that it made."""
        return (await self.compose("run", "--rm", "prepare", "show", name)).strip()

    async def containers(self, service: str) -> list[str]:
        """The ids of those that run."""
        return (await self.docker("ps", "--quiet", *self._of(service))).split()

    async def addresses(self, service: str) -> dict[str, str]:
        """Those of a service's first container, by network."""
        [first, *_] = await self.containers(service)
        shown = await self.docker(
            "inspect", "--format", "{{range $name, $at := .NetworkSettings.Networks}}{{$name}} {{$at.IPAddress}}\n{{end}}", first
        )
        return {name.removeprefix(f"{self.project}_"): address for name, address in (line.split() for line in shown.splitlines() if line)}

    async def reaches(self, service: str, address: str, port: int) -> bool:
        """Whether a process in a service's container can open a TCP connection."""
        [first, *_] = await self.containers(service)
        attempt = f"import socket; socket.create_connection(({address!r}, {port}), 1)"
        try:
            await self.docker("exec", first, "python", "-c", attempt)
        except AssertionError:
            return False
        return True

    async def kill_a(self, service: str) -> None:
        """SIGKILL for everything in a container. Not by `docker kill`, after which Docker takes it for stopped by its owner."""
        [first, *_] = await self.containers(service)
        with contextlib.suppress(AssertionError):  # the shell goes too
            await self.docker("exec", first, "sh", "-c", "kill -9 -1")

    def client(self, *, key: bool = True) -> httpx.AsyncClient:
        """Of the published api."""
        headers = {"Authorization": f"Bearer {self.key}"} if key else {}
        return httpx.AsyncClient(base_url=self.url, headers=headers, trust_env=False, timeout=30)

    def consoles(self, **more: Any) -> httpx.AsyncClient:
        """Of the operators' port."""
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.consoles_port}", trust_env=False, timeout=30, **more)

    async def logs(self) -> str:
        """The last of what everything said."""
        return await self.compose("logs", "--no-color", "--tail=15")

    def _of(self, service: str) -> Iterator[str]:
        for label in (f"project={self.project}", f"service={service}"):
            yield from ("--filter", f"label=com.docker.compose.{label}")


async def _run(arguments: list[str], environ: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *arguments, cwd=ROOT, env=environ, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, complaints = await process.communicate()
    assert process.returncode == 0, f"{' '.join(arguments)}: exit code {process.returncode}\n{output.decode()[-4000:]}{complaints.decode()[-4000:]}"
    return output.decode()


@contextlib.asynccontextmanager
async def running(compose: list[str], *files: str) -> AsyncIterator[Stack]:
    """A stack of its own, gone afterwards with all that it had. What fails is told together with its logs."""
    stack = Stack(compose, *files)
    try:
        await stack.compose("build", "prepare")
        await stack.up()
        yield stack
    except BaseException as error:
        error.add_note(await stack.logs())
        raise
    finally:
        await stack.compose("down", "--volumes", "--remove-orphans", "--timeout", "1")
