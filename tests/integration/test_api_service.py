"""What all routes share: unknown paths and methods, keys, probes, documentation, listening."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import httpx
import pytest

from services.api.access import listening
from services.api.http import problems
from shared.errors import SettingsError
from shared.settings import Settings
from tests.api import Api, running_api
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


@pytest.fixture
async def api(mongo_url: str, amqp_url: str) -> AsyncIterator[Api]:
    async with running_api(mongo_url, amqp_url) as api:
        yield api


@pytest.mark.parametrize("path", ["/nothing", "/images/a/b/c", "/problems/none", "/health", "/docs/x", "/%00", "/images/../../etc/passwd"])
async def test_an_unknown_path_is_a_problem(api: Api, path: str) -> None:
    answer = await api.client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/images", {"GET", "HEAD", "POST", "PUT", "OPTIONS"}),
        ("PATCH", "/images", {"GET", "HEAD", "POST", "PUT", "OPTIONS"}),
        ("POST", "/images/aaaaaaaaaaaaaaaaaaaaaaaaaa", {"GET", "HEAD", "DELETE", "OPTIONS"}),
        ("PUT", "/images/aaaaaaaaaaaaaaaaaaaaaaaaaa/content", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/health/live", {"GET", "HEAD", "OPTIONS"}),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(api: Api, method: str, path: str, allowed: set[str]) -> None:
    answer = await api.client.request(method, path)
    assert (answer.status_code, answer.json()["type"]) == (405, "/problems/method-not-allowed")
    assert set(answer.headers["allow"].split(", ")) == allowed


async def test_it_is_live_at_once_and_ready_when_everybody_is_there(api: Api) -> None:
    assert (await api.client.get("/health/live")).json() == {"status": "live"}

    async def connected() -> bool:
        answer = await api.client.get("/health/ready")
        assert answer.status_code == 503
        assert answer.json()["status"] == "not ready"
        return bool(answer.json()["checks"]["rabbitmq"] == "ok")

    await until(connected)
    checks = (await api.client.get("/health/ready")).json()["checks"]
    assert checks["mongodb"] == "ok"
    assert set(checks) == {"mongodb", "rabbitmq", "fetcher.download-requested", "storer.image-fetched"}


async def test_with_keys_every_request_needs_one_but_the_probes_and_the_reference(mongo_url: str, amqp_url: str) -> None:
    async with running_api(mongo_url, amqp_url, api_keys=("first", "second")) as api:
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": "Basic first"},
            {"authorization": "Bearer"},
            {"authorization": "Bearer firs"},
        ):
            answer = await api.client.get("/images", headers=headers)
            assert (answer.status_code, answer.json()["type"]) == (401, "/problems/unauthorized")
            assert answer.headers["www-authenticate"].startswith("Bearer")
        for key in ("first", "second"):
            assert (await api.client.get("/images", headers={"authorization": f"bearer {key}"})).status_code == 200
        for path in ("/health/live", "/docs", "/docs/events", "/openapi.json", "/docs/asyncapi.json", "/problems/known-image"):
            assert (await api.client.get(path)).status_code == 200


async def test_the_pages_load_nothing_from_elsewhere(api: Api) -> None:
    pages = ["/docs", "/docs/events", *(kind.type for kind in problems.KINDS.values())]
    for path in pages:
        answer = await api.client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
        assert "<script" not in answer.text
        assert "src=" not in answer.text
        assert "href=http" not in answer.text


async def test_two_processes_share_a_port() -> None:
    with closing(listening.listen(Settings(port=0))) as first, closing(listening.listen(Settings(port=first.getsockname()[1]))) as second:
        assert first.getsockname() == second.getsockname()


async def test_a_port_that_somebody_else_has_is_a_wrong_setting() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken, pytest.raises(SettingsError, match="BOWERBIRD_PORT"):
        listening.listen(Settings(port=taken.getsockname()[1]))


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_beyond_loopback_it_listens_only_with_keys_or_when_told_to(host: str) -> None:
    with pytest.raises(SettingsError, match=r"^BOWERBIRD_HOST .*BOWERBIRD_API_KEYS.*BOWERBIRD_ALLOW_ANONYMOUS=true[^\n]*$"):
        listening.listen(Settings(host=host, port=0))
    listening.listen(Settings(host=host, port=0, allow_anonymous=True)).close()
    listening.listen(Settings(host=host, port=0, api_keys=("k",))).close()


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.1", "a" * 300])
async def test_an_address_of_another_machine_is_a_wrong_setting(host: str) -> None:
    with pytest.raises(SettingsError, match="BOWERBIRD_HOST"):
        listening.listen(Settings(host=host, port=0, allow_anonymous=True))


def start(mongo_url: str, amqp_url: str, **settings: str) -> subprocess.Popen[str]:
    environ = {"PATH": os.environ["PATH"], "BOWERBIRD_MONGO_URL": mongo_url, "BOWERBIRD_AMQP_URL": amqp_url, "BOWERBIRD_PORT": "0", **settings}
    command = [sys.executable, "-c", "import sys; from services.api.main import main; sys.exit(main())"]
    return subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_says_where_it_listens_and_stops_when_told_to(mongo_url: str, amqp_url: str, number: int) -> None:
    with start(mongo_url, amqp_url) as process:
        assert process.stderr
        line = next(line for line in process.stderr if "listening" in line)
        with httpx.Client(base_url=json.loads(line)["url"], trust_env=False) as client:
            assert client.post("/images", json={"url": "https://example.org/"}).status_code == 202
            process.send_signal(number)
            assert process.wait(timeout=10) == 0


def test_a_wrong_setting_stops_the_start_with_one_line(mongo_url: str, amqp_url: str) -> None:
    with start(mongo_url, amqp_url, BOWERBIRD_HOST="0.0.0.0") as process:
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert errors.count("\n") == 1
    assert errors.startswith("BOWERBIRD_HOST")
