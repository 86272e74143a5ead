"""RabbitMQ and MongoDB for the suite: those that are given, those of a Docker engine, or private ones on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pymongo
from pymongo.errors import PyMongoError

from tests.compose.images import images

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = Path("/dev/shm")
PLENTY = 8 * 1024**3
"""Bytes; the whole suite leaves some two."""


@dataclasses.dataclass(frozen=True)
class Servers:
    """Where they are. `amqp` and `mongo` end before the virtual host's or database's name, which each test has its own of."""

    amqp: str
    management: str
    mongo: str
    mongo_options: str
    kind: str
    metrics: str | None = None
    """RabbitMQ's own, for Prometheus; None if it isn't known where."""

    @contextlib.contextmanager
    def vhost(self, name: str) -> Iterator[str]:
        """The AMQP URL of a virtual host that exists for the length of the block."""
        # Nothing here is on TLS, and to read the certificates that it would need takes longer than all the rest.
        with httpx.Client(base_url=self.management, trust_env=False, verify=False, timeout=30) as client:
            client.put(f"/api/vhosts/{name}").raise_for_status()
            try:
                yield f"{self.amqp}/{name}"
            finally:
                client.delete(f"/api/vhosts/{name}").raise_for_status()

    @contextlib.contextmanager
    def database(self, name: str) -> Iterator[str]:
        """The URL of a database that exists for the length of the block."""
        url = f"{self.mongo}/{name}{self.mongo_options}"
        try:
            yield url
        finally:
            with pymongo.MongoClient[dict[str, Any]](url) as client:
                # To drop a database with something in it waits a tenth of a second for the journal; to drop collections doesn't.
                for collection in client[name].list_collection_names():
                    client[name].drop_collection(collection)
                client.drop_database(name)


@contextlib.contextmanager
def servers() -> Iterator[Servers]:
    """Starts what isn't given, and stops what it started."""
    amqp, mongo = os.environ.get("BOWERBIRD_AMQP_URL"), os.environ.get("BOWERBIRD_MONGO_URL")
    if amqp and mongo:
        yield _given(amqp, mongo)
    elif docker_answers():
        with _containers() as started:
            yield started
    else:
        with _private() as started:
            yield started


def _given(amqp: str, mongo: str) -> Servers:
    management = os.environ.get("BOWERBIRD_MANAGEMENT_URL")
    if not management:
        raise SystemExit(
            "With BOWERBIRD_AMQP_URL the tests need BOWERBIRD_MANAGEMENT_URL (http://user:password@host:15672): each has a vhost of its own."
        )
    base, _, options = mongo.partition("?")
    return Servers(amqp.rstrip("/"), management, "/".join(base.split("/")[:3]), f"?{options}" if options else "", "given")


@contextlib.contextmanager
def _private() -> Iterator[Servers]:
    from services.local.servers import blocking_servers  # noqa: PLC0415  (needs nothing of it when servers are given)

    data = Path(tempfile.mkdtemp(prefix="bowerbird-tests-", dir=_memory()))
    try:
        with blocking_servers(data) as local:
            mongo, _, options = local.mongo_url.partition("/bowerbird")
            management = local.rabbitmq.management_url.rstrip("/").replace("http://", "http://guest:guest@")
            yield Servers(local.amqp_url.rstrip("/"), management, mongo, options, "private", local.rabbitmq.metrics_url)
    finally:
        shutil.rmtree(data, ignore_errors=True)


def _memory() -> Path | None:
    """A folder in memory, if there is plenty: each test has a virtual host and a database made, and disks take their time to have that written."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= PLENTY else None


def docker_answers() -> bool:
    """Whether there is a Docker engine that answers."""
    import docker  # noqa: PLC0415
    from docker.errors import DockerException  # noqa: PLC0415

    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if host.startswith("unix://") and not Path(host.removeprefix("unix://")).exists():
        return False
    try:
        with contextlib.closing(docker.from_env(timeout=5)) as client:
            return bool(client.ping())
    except DockerException:
        return False


@contextlib.contextmanager
def _containers() -> Iterator[Servers]:
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415

    # Plain containers: the ready-made ones wait in a deprecated way, and MongoDbContainer sets a root password, with which
    # a replica set needs a key file too. guest may log in from loopback only, so here is a user that may from anywhere.
    login, ours = "bowerbird", images()
    rabbitmq_image = os.environ.get("TESTS_RABBITMQ_IMAGE", ours["rabbitmq"])
    mongodb_image = os.environ.get("TESTS_MONGODB_IMAGE", ours["mongo"])
    rabbitmq = DockerContainer(rabbitmq_image).with_exposed_ports(5672, 15672, 15692)
    rabbitmq = rabbitmq.with_env("RABBITMQ_DEFAULT_USER", login).with_env("RABBITMQ_DEFAULT_PASS", login)
    mongodb = DockerContainer(mongodb_image).with_command(["--replSet", "rs0"]).with_exposed_ports(27017)
    with rabbitmq, mongodb:
        mongo = f"mongodb://{mongodb.get_container_host_ip()}:{mongodb.get_exposed_port(27017)}"
        _initiate(f"{mongo}/?directConnection=true")
        host = rabbitmq.get_container_host_ip()
        management = f"http://{login}:{login}@{host}:{rabbitmq.get_exposed_port(15672)}"
        _until_managed(management)
        yield Servers(
            f"amqp://{login}:{login}@{host}:{rabbitmq.get_exposed_port(5672)}", management, mongo, "?directConnection=true", "testcontainers",
            f"http://{host}:{rabbitmq.get_exposed_port(15692)}/",
        )  # fmt: skip


def _initiate(url: str) -> None:
    with pymongo.MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=500) as client:
        deadline = time.monotonic() + 60
        asked = False
        while True:
            try:
                if not asked:
                    client.admin.command("replSetInitiate", {"_id": "rs0", "members": [{"_id": 0, "host": "127.0.0.1:27017"}]})
                    asked = True
                if client.admin.command("hello")["isWritablePrimary"]:
                    return
            except PyMongoError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.1)


def _until_managed(management: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            httpx.get(f"{management}/api/overview", trust_env=False).raise_for_status()
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
