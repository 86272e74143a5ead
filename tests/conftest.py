"""Fixtures for every test. Each test that asks for a server has a virtual host and a database of its own on it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from services.local.errors import StartError
from tests.servers import Servers, servers

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVERS = pytest.StashKey[Servers]()
MISSING = pytest.StashKey[str]()
STARTED = pytest.StashKey[contextlib.ExitStack]()
WITHOUT_SERVERS = ("tests/unit", "tests/contract", "tests/compose")


def pytest_configure(config: pytest.Config) -> None:
    """Starts the servers once, in the process that controls the workers, unless only tests that need none are asked for."""
    handed = getattr(config, "workerinput", {})
    if "servers" in handed:
        config.stash[SERVERS] = Servers(**handed["servers"])
    elif "missing" in handed:
        config.stash[MISSING] = handed["missing"]
    elif not hasattr(config, "workerinput") and not config.option.collectonly and not _without_servers(config):
        config.stash[STARTED] = contextlib.ExitStack()
        try:
            config.stash[SERVERS] = config.stash[STARTED].enter_context(servers())
        except StartError as error:
            if os.environ.get("CI") == "true":
                raise pytest.UsageError(str(error)) from error
            config.stash[MISSING] = str(error)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Says on what the suite runs."""
    found = config.stash.get(SERVERS, None)
    return f"servers: {found.kind}, {found.mongo}, {found.management.partition('@')[2]}" if found else None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells a worker of pytest-xdist where the servers are."""
    if found := node.config.stash.get(SERVERS, None):
        node.workerinput["servers"] = dataclasses.asdict(found)
    elif missing := node.config.stash.get(MISSING, None):
        node.workerinput["missing"] = missing


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stops the servers."""
    if started := config.stash.get(STARTED, None):
        started.close()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """One more than there are cores, for `-n auto`: tests wait for servers, and for time to pass, a good part of their time."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return cores + 1


def _without_servers(config: pytest.Config) -> bool:
    root = config.rootpath
    named = [(config.invocation_params.dir / arg.partition("::")[0]).resolve() for arg in config.args]
    return all(any(path.is_relative_to(root / folder) for folder in WITHOUT_SERVERS) for path in named)


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The event loop that the services run on."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def running_servers(pytestconfig: pytest.Config) -> Servers:
    """RabbitMQ and MongoDB. Without them the test is skipped on a person's machine; with CI=true the run has failed already."""
    if missing := pytestconfig.stash.get(MISSING, None):
        pytest.skip(missing)
    return pytestconfig.stash[SERVERS]


@pytest.fixture
def amqp_url(running_servers: Servers) -> Iterator[str]:
    """A virtual host of this test's own."""
    with running_servers.vhost(f"test-{uuid.uuid4().hex}") as url:
        yield url


@pytest.fixture
def mongo_url(running_servers: Servers) -> Iterator[str]:
    """A database of this test's own."""
    with running_servers.database(f"test-{uuid.uuid4().hex}") as url:
        yield url
