"""Where the images come from: nginx with a file for each URL, or, where there is no nginx and for slow answers, an origin of our own."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import sys
import time
import urllib.parse
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import uvloop

from bench.crew import ROOT
from bench.measure import BenchError
from bench.photos import numbered
from services.local import apt, ports
from services.local.children import Child
from services.local.logs import tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

HOST = "127.0.0.1"
START_SECONDS = 15.0
HOSTS = 8
"""Ports that it listens on, each of which is a host of its own to who downloads: few people's images are all on one host."""


class Origin(NamedTuple):
    """A server of images on loopback. Every number is an image of its own, with bytes of its own."""

    kind: str
    ports: tuple[int, ...]
    stock: Mapping[str, int]

    def url(self, size: str, number: int) -> str:
        """The URL of image `number` of a size."""
        return f"http://{HOST}:{self.ports[number % len(self.ports)]}/{folder_of(size)}/{number:06}.jpg"


def folder_of(size: str) -> str:
    """A size's name as part of a path."""
    return size.replace(" ", "")


@asynccontextmanager
async def origin(folder: Path, stock: Mapping[str, int], say: Callable[[str], None]) -> AsyncIterator[Origin]:
    """An nginx with `stock` images of each size, got by apt where that is possible; else our own."""
    program = await asyncio.to_thread(_nginx, say)
    if program is None:
        say("There is no nginx here, and no apt-get that may install it: the origin is one of our own, in Python, which costs more CPU.")
        async with own_origin(folder, hosts=HOSTS) as ours:
            yield ours._replace(stock=stock)
        return
    say(f"Making the images: {', '.join(f'{count:,} of {size}' for size, count in stock.items())} ...")
    await asyncio.to_thread(_make, folder / "images", stock)
    chosen = _free_ports(HOSTS)
    configuration = folder / "nginx.conf"
    configuration.write_text(_configuration(folder, chosen), "utf-8")
    child = Child("nginx", [program, "-p", folder, "-c", configuration, "-e", folder / "nginx.log"], environ=os.environ, log=folder / "nginx.out")
    async with running(child, chosen[-1]):
        yield Origin(await _version(program), chosen, stock)


@asynccontextmanager
async def own_origin(folder: Path, *, delay: float = 0.0, hosts: int = 1) -> AsyncIterator[Origin]:
    """An origin in Python, which answers after `delay` seconds and has any number of each size."""
    chosen = _free_ports(hosts)
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "bench.origin", str(delay), *map(str, chosen)]
    async with running(Child("origin", command, environ=environ, log=folder / "origin.out"), chosen[-1]):
        yield Origin("our own", chosen, {})


def _free_ports(count: int) -> tuple[int, ...]:
    found: set[int] = set()
    while len(found) < count:
        found.add(ports.any_free(HOST))
    return tuple(found)


@asynccontextmanager
async def running(child: Child, port: int) -> AsyncIterator[None]:
    """A server, from when it listens until the block ends. Raises BenchError when it ends before."""
    try:
        await child.start()
        await _until_listening(child, port)
        yield
    finally:
        child.kill()


async def _until_listening(child: Child, port: int) -> None:
    until = time.monotonic() + START_SECONDS
    while child.running and time.monotonic() < until:
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return
    raise BenchError(f"{child.name} did not start. {tail(child.log) if child.log else ''}")


def _nginx(say: Callable[[str], None]) -> str | None:
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    if shutil.which("nginx", path=path) is None and apt.available():
        say("Installing nginx with apt-get ...")
        apt.install("nginx-light")
        apt.disable("nginx.service")
    return shutil.which("nginx", path=path)


async def _version(program: str) -> str:
    process = await asyncio.create_subprocess_exec(program, "-v", stderr=asyncio.subprocess.PIPE)
    return (await process.communicate())[1].decode().partition(":")[2].strip()


def _make(folder: Path, stock: Mapping[str, int]) -> None:
    for size, count in stock.items():
        (folder / folder_of(size)).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (folder / folder_of(size) / f"{number:06}.jpg").write_bytes(numbered(size, number))


def _configuration(folder: Path, chosen: tuple[int, ...]) -> str:
    user = "user root;" if os.geteuid() == 0 else ""  # the folder may be one that only we can read
    temporary = "".join(f"  {kind}_temp_path {folder}/nginx-tmp;\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    listening = "".join(f" listen {HOST}:{port} backlog=4096;" for port in chosen)
    return f"""\
daemon off;
{user}
pid {folder}/nginx.pid;
worker_processes 2;
events {{ worker_connections 4096; }}
http {{
{temporary}
  types {{ image/jpeg jpg; }}
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  server {{{listening} root {folder}/images; }}
}}
"""


class _Answering(asyncio.Protocol):
    """One connection: requests without a body, one at a time, which is all that an origin of images is asked for."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        while b"\r\n\r\n" in self._read:
            head, _, self._read = self._read.partition(b"\r\n\r\n")
            target = urllib.parse.urlsplit(head.split(b" ", 2)[1].decode("ascii", "replace")).path
            answer = _answer(target)
            if self._delay:
                asyncio.get_running_loop().call_later(self._delay, self._write, answer)
            else:
                self._write(answer)

    def _write(self, answer: bytes) -> None:
        self._transport.write(answer)  # type: ignore[attr-defined]  # a TCP transport writes


def _answer(target: str) -> bytes:
    size, _, name = target.strip("/").partition("/")
    try:
        body = numbered(_sizes()[size], int(name.removesuffix(".jpg")))
    except (KeyError, ValueError):
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    return b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@functools.cache
def _sizes() -> dict[str, str]:
    from bench.photos import BYTES  # noqa: PLC0415

    return {folder_of(size): size for size in BYTES}


async def _serve(delay: float, *chosen: int) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(lambda: _Answering(delay), HOST, port, backlog=4096) for port in chosen]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    uvloop.run(_serve(float(sys.argv[1]), *map(int, sys.argv[2:])))
