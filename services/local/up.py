"""`bowerbird up`: the servers and the services together on this machine, until a signal ends them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import httpx

from services.local import folder, install, ports
from services.local.children import Child, Supervisor
from services.local.errors import StartError
from services.local.mongodb import MongoDB
from services.local.rabbitmq import RabbitMQ
from services.local.secret import made_once
from services.local.terminal import complain, hung_up, say
from shared.settings import MAX_PORT, PREFIX, Settings, load

if TYPE_CHECKING:
    from pathlib import Path

READY_WITHIN = 90.0
SAME_SIGNAL = 0.5  # seconds in which a second one is the first again, from whoever else passes it on: make, a shell
WRONG_SETTINGS = 2  # the exit code of a service whose settings are wrong
STOPS_WITHIN = 5.0  # seconds that a service has beyond its own grace period before it is killed
SIGNED_WITH = "webhook-secret"
REACHED = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (what listens everywhere, and where to reach it)


def main() -> int:
    """Run until SIGINT, SIGTERM or SIGHUP; the exit code. Raises SettingsError."""
    settings = load(os.environ)
    try:
        with folder.held(settings.data.resolve()):
            port = _api_port(settings)
            return asyncio.run(_until_signalled(settings, port))
    except StartError as error:
        complain(str(error))
        return 1


async def _until_signalled(settings: Settings, port: int) -> int:
    supervisor = Supervisor(say)
    working = asyncio.create_task(_work(settings, port, supervisor))
    asked: float | None = None

    def stop(number: signal.Signals) -> None:
        nonlocal asked
        if asked is None:
            asked = time.monotonic()
            say("Stopping ...")
            working.cancel()
        elif number != signal.SIGHUP and time.monotonic() - asked > SAME_SIGNAL:
            supervisor.kill()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    terminal = asyncio.create_task(hung_up())
    terminal.add_done_callback(lambda task: None if task.cancelled() else stop(signal.SIGHUP))
    try:
        await working
    except asyncio.CancelledError:
        pass
    except StartError as error:
        complain(str(error))
        return 1
    finally:
        terminal.cancel()
        await supervisor.stop()
        if asked:
            say("Stopped.")
    return 0


async def _work(settings: Settings, port: int, supervisor: Supervisor) -> None:
    """Start everything in its order, say where it is, and look after it for ever. Raises StartError."""
    data, shown = settings.data.resolve(), iter(metrics_ports(settings))
    rabbitmq, mongodb = await _servers(settings, data)
    servers = [server for server in (rabbitmq, mongodb) if server]
    if servers:
        say(f"Starting {' and '.join(server.name for server in servers)} ...")
    await supervisor.start(*servers)

    say("Starting the services ...")
    amqp_url = rabbitmq.amqp_url if rabbitmq else settings.amqp_url
    mongo_url = mongodb.mongo_url if mongodb else settings.mongo_url
    secret = None if settings.webhook_secret else made_once(data / SIGNED_WITH)
    management = None if settings.management_ui or rabbitmq is None else rabbitmq.management_url
    added = {
        "AMQP_URL": amqp_url, "MONGO_URL": mongo_url, "HOST": settings.host, "PORT": str(port), "WEBHOOK_SECRET": secret, "MANAGEMENT_UI": management,
    }  # fmt: skip
    environ = {**os.environ, **{PREFIX + name: value for name, value in added.items() if value}}
    # They stop in the opposite order: first nothing comes in, then what is under way is stored.
    grace = settings.grace + STOPS_WITHIN
    for name, processes in _services(settings):
        environs = [environ | next(shown) for _ in range(processes)]
        await supervisor.start(*(_service(name, number, processes, own, grace) for number, own in enumerate(environs, 1)))

    watching = asyncio.create_task(supervisor.watch())
    ready = asyncio.create_task(_ready(_address(settings.host, port)))
    try:
        await asyncio.wait((ready, watching), return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            ready.result()
            _summarise(settings, _address(settings.host, port), rabbitmq, data)
        await watching
    finally:
        ready.cancel()
        watching.cancel()
        await asyncio.gather(ready, watching, return_exceptions=True)


async def _servers(settings: Settings, data: Path) -> tuple[RabbitMQ | None, MongoDB | None]:
    """The private servers that are needed, not started yet; what they are made of is got if it can be."""
    chosen = ports.remembered(data / "ports.json")

    def rabbitmq() -> RabbitMQ | None:
        return None if settings.amqp_url else RabbitMQ(install.rabbitmq_server(say), data / "rabbitmq", chosen)

    def mongodb() -> MongoDB | None:
        return None if settings.mongo_url else MongoDB(install.mongod(data / "mongodb", say), data / "mongodb", chosen)

    # In threads: when a signal comes meanwhile, the loop waits for them at its end, and no installation is left half done.
    return await asyncio.gather(asyncio.to_thread(rabbitmq), asyncio.to_thread(mongodb))


def _services(settings: Settings) -> tuple[tuple[str, int], ...]:
    return ("storer", settings.storers), ("fetcher", settings.fetchers), ("api", settings.apis)


def metrics_ports(settings: Settings) -> list[dict[str, str]]:
    """What each process has to be told, in the order of their start: two can't show their metrics on one port. Raises StartError."""
    processes = sum(number for _, number in _services(settings))
    if settings.metrics_port is None:
        return [{}] * processes
    if settings.metrics_port + processes - 1 > MAX_PORT:
        raise StartError(
            f"BOWERBIRD_METRICS_PORT is {settings.metrics_port}, but {processes} processes take a port each, from that on, up to {MAX_PORT}."
        )
    return [{f"{PREFIX}METRICS_PORT": str(settings.metrics_port + number)} for number in range(processes)]


def _service(name: str, number: int, of: int, environ: dict[str, str], grace: float) -> Child:
    shown = f"{name} {number}" if of > 1 else name
    return Child(shown, [sys.executable, "-m", "services", name], environ=environ, grace=grace, fatal=WRONG_SETTINGS)


def _api_port(settings: Settings) -> int:
    """The port that all api processes share. Raises StartError if it is taken."""
    if settings.port == 0:
        return ports.any_free(settings.host)
    until = time.monotonic() + 1  # what a killed `up` started may take a moment to die
    while not ports.is_free(settings.port, settings.host):
        if time.monotonic() > until:
            raise StartError(f"Port {settings.port} on {settings.host} is taken; stop what listens there, or set BOWERBIRD_PORT.")
        time.sleep(0.05)
    return settings.port


def _address(host: str, port: int) -> str:
    host = REACHED.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _ready(address: str) -> None:
    """Wait until the api says that all is there: database, broker, and consumers of each service. Raises StartError."""
    answer = "nothing"
    until = time.monotonic() + READY_WITHIN
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        while time.monotonic() < until:
            with contextlib.suppress(httpx.HTTPError):
                response = await client.get(f"{address}/health/ready")
                if response.status_code == httpx.codes.OK:
                    return
                answer = response.text[:500]
            await asyncio.sleep(0.1)
    raise StartError(f"Not ready within {READY_WITHIN:g} s: {address}/health/ready answered {answer}.")


def _summarise(settings: Settings, address: str, rabbitmq: RabbitMQ | None, data: Path) -> None:
    address = settings.public_url or address
    say("")
    say("Bowerbird is ready.")
    say(f"  Gallery          {address}/")
    say(f"  API              {address}/images")
    say(f"  API reference    {address}/docs")
    if rabbitmq:
        say(f"  RabbitMQ         {rabbitmq.management_url}  (log in as guest, password guest)")
    if settings.metrics_port:
        last = settings.metrics_port + sum(number for _, number in _services(settings)) - 1
        say(f"  Metrics          {_address(settings.metrics_host, settings.metrics_port)}/metrics, and on the ports up to {last}")
    if not settings.webhook_secret:
        say(f"  Webhook secret   {data / SIGNED_WITH}")
    say(f"  Data and logs    {data}")
    say("Ctrl-C stops everything.")
    say("")
