"""A private RabbitMQ: its own node name, ports, data, cookie and epmd, all on loopback.

It shares nothing with a RabbitMQ of the system: not /etc/rabbitmq, not epmd's port 4369, not the cookie in HOME.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from services.local.children import Child
from services.local.errors import StartError
from services.local.folder import prepare, used
from services.local.logs import tail

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from services.local.ports import Ports

# Where it may be although PATH doesn't say so: people's PATH lacks sbin on Debian, and Homebrew's isn't always there.
ELSEWHERE = ("/usr/local/sbin", "/usr/sbin", "/opt/homebrew/sbin", "/opt/homebrew/bin")
PACKAGED = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
NODE = "bowerbird@localhost"  # localhost, since a machine's own name need not resolve
MIB = 1024**2
AMQP_GREETING = b"AMQP\x00\x00\x09\x01"  # AMQP 0-9-1, section 4.2.2


def search_path() -> str:
    """PATH, and the places where RabbitMQ and Erlang may be besides."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *ELSEWHERE])


def find() -> Path | None:
    """The rabbitmq-server of this machine, if there is one."""
    found = shutil.which("rabbitmq-server", path=search_path())
    # In the sbin of packages lies a wrapper that only root and the user rabbitmq may call, and that changes the user.
    if PACKAGED.exists() and (found is None or Path(found).parent in {Path("/usr/sbin"), Path("/sbin")}):
        return PACKAGED
    return Path(found) if found else None


class RabbitMQ:
    """One node with its management and Prometheus plugins, and the epmd that it needs. `guest` with password `guest` may log in."""

    name = "RabbitMQ"
    fatal = None

    def __init__(self, program: Path, folder: Path, ports: Ports, *, deadline: float = 60.0) -> None:
        """Keep data and configuration in `folder`, and be usable within `deadline` seconds of a start. Touches nothing yet."""
        self.folder = folder.resolve()
        self.ports = ports
        self.log = self.folder / "rabbitmq.log"
        self.amqp_url = f"amqp://guest:guest@127.0.0.1:{ports.amqp}/"
        self.management_url = f"http://127.0.0.1:{ports.management}/"
        self.metrics_url = f"http://127.0.0.1:{ports.prometheus}/"
        self._deadline = deadline
        self._ready = False
        self.program = program
        self.environ = environ = self._environ()
        # A foreground epmd is our child and ends with us; the one that Erlang starts by itself stays for ever.
        self._epmd = Child("epmd", [_epmd(), "-address", "127.0.0.1", "-port", str(ports.epmd)], environ=environ, log=self.log, grace=1)
        # Without -noinput it would read our terminal; its own script adds that only when it keeps a shell around the server.
        self._node = Child("RabbitMQ", [program, "-noinput"], environ=environ, log=self.log, grace=30)

    async def start(self) -> None:
        """Start it; return when AMQP and the management API answer. Raises StartError with the end of its log."""
        until = time.monotonic() + self._deadline
        if not self._node.running:
            self._ready = False
            self._write_configuration()
        await self._epmd.start()
        await self._until(until, self._epmd, lambda: _answers(self.ports.epmd))
        await self._node.start()
        await self._until(until, self._node, lambda: _answers(self.ports.amqp, AMQP_GREETING))
        await self._until(until, self._node, self._managed)
        used(self.folder / "data")
        self._ready = True

    async def wait(self) -> int:
        """The exit code of what ends first, the node or its epmd; `start` then starts that again."""
        while self._node.running and self._epmd.running:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        return await (self._epmd if self._node.running else self._node).wait()

    async def stop(self) -> None:
        """Stop it in order; after 30 seconds kill it."""
        if not self._ready:
            self._node.kill()  # while it starts it may take SIGTERM and never act on it
        await self._node.stop()
        await self._epmd.stop()

    def kill(self) -> None:
        """SIGKILL, as in a crash."""
        self._node.kill()
        self._epmd.kill()

    async def add_vhost(self, name: str) -> str:
        """Make a virtual host and return its AMQP URL; one that exists stays as it is. Raises httpx.HTTPError."""
        await self._manage("PUT", f"api/vhosts/{name}")
        return self.amqp_url + name

    async def delete_vhost(self, name: str) -> None:
        """Delete a virtual host with all that is in it. Raises httpx.HTTPError."""
        await self._manage("DELETE", f"api/vhosts/{name}")

    async def _manage(self, method: str, path: str) -> None:
        async with httpx.AsyncClient(base_url=self.management_url, auth=("guest", "guest"), trust_env=False, timeout=30) as client:
            (await client.request(method, path)).raise_for_status()

    async def _managed(self) -> bool:
        try:
            await self._manage("GET", "api/overview")
        except httpx.HTTPError:
            return False
        return True

    async def _until(self, until: float, child: Child, ready: Callable[[], Awaitable[bool]]) -> None:
        while not await ready():
            if not child.running:
                raise StartError(f"{child.name} ended while it started. {tail(self.log)}")
            if time.monotonic() > until:
                raise StartError(f"{child.name} wasn't ready within {self._deadline:g} s. {tail(self.log)}")
            await asyncio.sleep(0.05)

    def _environ(self) -> dict[str, str]:
        folder = self.folder
        passed = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TMPDIR", "TZ") if name in os.environ}
        return passed | {
            "PATH": search_path(),
            "HOME": str(folder),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self.ports.epmd),
            "ERL_FLAGS": "-start_epmd false",
            "ERL_CRASH_DUMP": str(folder / "erl_crash.dump"),
            # Makes the script become the server rather than its parent, so that signals and our death reach it.
            "RABBITMQ_ALLOW_INPUT": "true",
            "RABBITMQ_NODENAME": NODE,
            "RABBITMQ_DIST_PORT": str(self.ports.distribution),
            # Before 3.13 a stop waits 5 s for statistics that nobody collects any more (rabbitmq-server, pull request 11070);
            # this is the most, in milliseconds, that each of its parts may take. Confirmed messages are on disk anyway.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} -kernel shutdown_timeout 2000",
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            # The defaults of the next three are in /etc/rabbitmq.
            "RABBITMQ_CONFIG_FILES": str(folder / "conf.d" / "*.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "no-rabbitmq-env.conf"),
        }

    def _write_configuration(self) -> None:
        prepare(self.folder / "data")
        (self.folder / "enabled_plugins").write_text("[rabbitmq_management,rabbitmq_prometheus].\n", "utf-8")
        (self.folder / "advanced.config").write_text("[].\n", "utf-8")
        (self.folder / "rabbitmq.conf").write_text(_configuration(self.ports), "utf-8")
        cookie = self.folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(secrets.token_hex(20), "utf-8")
        cookie.chmod(0o400)  # Erlang refuses one that others may read, as copied folders have it


def _configuration(ports: Ports) -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"""\
listeners.tcp.local = 127.0.0.1:{ports.amqp}
management.tcp.ip = 127.0.0.1
management.tcp.port = {ports.management}
prometheus.tcp.ip = 127.0.0.1
prometheus.tcp.port = {ports.prometheus}
# Beyond this memory publishers are held up. The usual 40 % are too much for a machine that does other things too.
vm_memory_high_watermark.absolute = {max(512 * MIB, min(2048 * MIB, memory // 4))}
# Quorum queues keep what the write-ahead log holds in memory too, several times over; by default it grows to 512 MiB.
raft.wal_max_size_bytes = {128 * MIB}
disk_free_limit.absolute = {512 * MIB}
log.connection.level = warning
"""


def _epmd() -> str:
    path = search_path()
    if found := shutil.which("epmd", path=path):
        return found
    erl = shutil.which("erl", path=path)
    return str(Path(erl).resolve().with_name("epmd")) if erl else "epmd"


async def _answers(port: int, greeting: bytes = b"") -> bool:
    """Whether something listens, and, if greeted, says something."""
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(greeting)
                return not greeting or bool(await reader.read(1))
            finally:
                writer.close()
    except OSError:
        return False
