"""One pipeline for each module, checked for damage after each test."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.security.world import settings_for, world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from shared.settings import Settings
    from tests.security.world import World
    from tests.servers import Servers


@pytest.fixture(scope="module")
def module_settings(running_servers: Servers) -> Iterator[Settings]:
    """A virtual host and a database of this module's own."""
    name = f"test-{uuid.uuid4().hex}"
    with running_servers.vhost(name) as amqp_url, running_servers.database(name) as mongo_url:
        yield settings_for(amqp_url, mongo_url)


@pytest.fixture
def own_settings(amqp_url: str, mongo_url: str) -> Settings:
    """A virtual host and a database of this test's own, for a pipeline of its own."""
    return settings_for(amqp_url, mongo_url)


@pytest.fixture(scope="module")
async def shared_world(request: pytest.FixtureRequest, module_settings: Settings) -> AsyncIterator[World]:
    """The module's pipeline."""
    async with world(module_settings, Path(str(request.path)).stem.removeprefix("test_")) as found:
        yield found


@pytest.fixture
def answering(shared_world: World) -> Iterator[World]:
    """The module's pipeline, for tests that send it nothing to work on."""
    yield shared_world
    assert not shared_world.canaries.connections


@pytest.fixture
async def here(shared_world: World) -> AsyncIterator[World]:
    """The module's pipeline, which must have come to no harm by the end of the test."""
    yield shared_world
    assert not shared_world.canaries.connections
    await shared_world.works()
    await shared_world.is_clean()
    assert not shared_world.canaries.connections


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for every name in origin.test, which signs itself, with its key in the same file."""
    if not shutil.which("openssl"):
        pytest.skip("openssl makes the test's certificate, and is not installed")
    file = tmp_path_factory.mktemp("tls") / "certificate.pem"
    key = file.with_suffix(".key")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=origin", "-days", "2"]
    subprocess.run([*command, "-addext", "subjectAltName=DNS:*.origin.test", "-out", file, "-keyout", key], check=True, capture_output=True)
    file.write_text(file.read_text() + key.read_text())
    return file
