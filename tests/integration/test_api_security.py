"""Who may use the api, how often, from where; and what nobody gets it to do. On a real MongoDB and RabbitMQ."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pymongo.monitoring
import pytest

from services.api import cursors
from services.api.reference import openapi
from shared.listing import Position
from shared.settings import load
from tests.api import Api, id_of, running_api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.anyio

URL = "https://example.org/cat.jpg"
READER, WRITER, BOTH = "reader-0123456789abc", "writer-0123456789abc", "either-0123456789abc"
KEYS = load({"BOWERBIRD_API_KEYS": f"{READER}:read,{WRITER}:write,{BOTH}"}).api_keys
UNKNOWN = "a" * 26


@pytest.fixture
async def api(mongo_url: str, amqp_url: str) -> AsyncIterator[Api]:
    async with running_api(mongo_url, amqp_url) as api:
        yield api


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def operations() -> Iterator[tuple[str, str]]:
    """Every method and path, with an id that there isn't."""
    for path, methods in openapi.document()["paths"].items():
        for method in methods:
            yield method.upper(), path.replace("{image}", UNKNOWN).replace("{letter}", UNKNOWN)


async def ask(api: Api, method: str, path: str, **sent: Any) -> httpx.Response:
    """The answer; of a stream, which has no end, its head."""
    async with api.client.stream(method, path, **sent) as answer:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return httpx.Response(answer.status_code, headers=answer.headers)
        await answer.aread()
    return answer


async def test_a_key_may_do_what_its_scopes_say_and_no_more(mongo_url: str, amqp_url: str) -> None:
    async with running_api(mongo_url, amqp_url, api_keys=KEYS) as api:
        for method, path in operations():
            if path.startswith("/health/"):
                continue
            reads = method in {"GET", "HEAD"}
            for key, status in ((READER, None if reads else 403), (WRITER, 403 if reads else None), (BOTH, None), ("nobody-0123456789", 401)):
                answer = await ask(api, method, path, headers=bearer(key))
                if status is None:
                    assert answer.status_code not in {401, 403}, (method, path, key)
                    continue
                assert answer.status_code == status, (method, path, key)
                if method != "HEAD":
                    assert answer.json()["type"] == ("/problems/forbidden" if status == 403 else "/problems/unauthorized")
                assert ("insufficient_scope" in answer.headers["www-authenticate"]) == (status == 403)
                assert key not in answer.text


async def test_every_route_but_the_public_ones_is_closed_without_a_key(mongo_url: str, amqp_url: str) -> None:
    async with running_api(mongo_url, amqp_url, api_keys=KEYS) as api:
        for method, path in operations():
            for sent in (
                {},
                {"params": {"key": BOTH}},
                {"headers": {"cookie": f"key={BOTH}"}},
                {"headers": {"x-api-key": BOTH}},
                {"auth": (BOTH, BOTH)},
            ):
                answer = await ask(api, method, path, **sent)
                assert (answer.status_code == 401) is not path.startswith("/health/"), (method, path)


async def test_two_authorizations_are_none(mongo_url: str, amqp_url: str) -> None:
    async with running_api(mongo_url, amqp_url, api_keys=KEYS) as api:
        headers = [("authorization", f"Bearer {BOTH}"), ("authorization", "Bearer x")]
        assert (await api.client.get("/images", headers=headers)).status_code == 400


async def test_keys_and_query_values_are_in_no_log_no_problem_and_no_page(mongo_url: str, amqp_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with running_api(mongo_url, amqp_url, api_keys=KEYS) as api:
            texts = [
                (await ask(api, method, path, headers=bearer(key), params={"token": "hunter2"})).text
                for method, path in operations()
                for key in (READER, WRITER, BOTH, "hunter2" * 3)
            ]
            texts += [(await api.client.get(path)).text for path in ("/docs", "/openapi.json")]
            submitted = await api.client.post("/images", json={"url": f"{URL}?token=hunter2"}, headers=bearer(BOTH))
            assert submitted.status_code == 202
    logged = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records if record.name.startswith(("bowerbird", "uvicorn")))
    for secret in (READER, WRITER, BOTH, "hunter2"):
        assert secret not in logged
        assert all(secret not in text for text in texts)


async def test_a_client_that_asks_too_often_is_told_when_to_come_back(mongo_url: str, amqp_url: str) -> None:
    async with running_api(mongo_url, amqp_url, rate_limit=1, rate_burst=3, api_keys=KEYS) as api:
        for headers in (bearer(READER), bearer(BOTH)):
            answers = [await api.client.get("/images", headers=headers) for _ in range(5)]
            assert [answer.status_code for answer in answers][:4] == [200, 200, 200, 429]
            refused = answers[3]
            assert refused.json()["type"] == "/problems/too-many-requests"
            assert refused.headers["retry-after"] == "1"
            assert refused.headers["ratelimit-policy"] == '"requests";q=3;w=3'
            assert refused.headers["ratelimit"] == '"requests";r=0;t=1'
        # Without a key, or with wrong ones however many, it is the address that counts.
        statuses = [(await api.client.get("/images", headers=bearer(f"wrong-0123456789-{n}"))).status_code for n in range(6)]
        assert statuses[:4] == [401, 401, 401, 429]
        for _ in range(10):
            assert (await api.client.get("/health/live")).status_code == 200
            assert (await api.client.get("/health/ready")).status_code == 503
        await asyncio.sleep(1.1)
        assert (await api.client.get("/images", headers=bearer(READER))).status_code == 200


async def test_x_forwarded_for_counts_only_from_a_proxy_that_is_trusted(mongo_url: str, amqp_url: str) -> None:
    async def statuses(api: Api) -> list[int]:
        return [(await api.client.get("/nothing", headers={"x-forwarded-for": f"203.0.113.{number}"})).status_code for number in range(5)]

    async with running_api(mongo_url, amqp_url, rate_limit=1, rate_burst=2) as api:
        assert await statuses(api) == [404, 404, 429, 429, 429]
    trusted = load({"BOWERBIRD_TRUSTED_PROXIES": "127.0.0.0/8"}).trusted_proxies
    async with running_api(mongo_url, amqp_url, rate_limit=1, rate_burst=2, trusted_proxies=trusted) as api:
        assert await statuses(api) == [404] * 5


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "10.0.0.1", "localhost.evil.example"])
async def test_a_page_whose_name_leads_here_gets_nothing(api: Api, host: str) -> None:
    for method, path in [*operations(), ("GET", "/"), ("GET", "/docs"), ("GET", "/nothing"), ("OPTIONS", "/images"), ("TRACE", "/images")]:
        answer = await ask(api, method, path, headers={"host": host})
        assert answer.status_code == 421, (method, path)
        if method != "HEAD":
            assert answer.json()["type"] == "/problems/wrong-host"
            assert "evil" not in answer.text


async def test_its_own_names_are_answered_to_and_with_keys_any(mongo_url: str, amqp_url: str) -> None:
    async with running_api(mongo_url, amqp_url, public_url="https://pictures.example/api") as api:
        for host in ("localhost", "127.0.0.1:9", "[::1]", "pictures.example"):
            assert (await api.client.get("/images", headers={"host": host})).status_code == 200
    async with running_api(mongo_url, amqp_url, api_keys=KEYS) as api:
        assert (await api.client.get("/images", headers={"host": "any.example", **bearer(READER)})).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
    ],
)
async def test_a_page_of_another_origin_can_change_nothing(api: Api, headers: dict[str, str]) -> None:
    for method, path in operations():
        if method not in {"GET", "HEAD"}:
            answer = await ask(api, method, path, json={"url": URL}, headers=headers)
            assert (answer.status_code, answer.json()["type"]) == (403, "/problems/cross-origin")
    assert (await api.client.get("/images", headers=headers)).json()["items"] == []


async def test_its_own_pages_can(api: Api) -> None:
    own = {"origin": str(api.client.base_url).rstrip("/"), "sec-fetch-site": "same-origin"}
    assert (await api.client.post("/images", json={"url": URL}, headers=own)).status_code == 202


async def test_every_answer_has_the_safe_headers_and_none_that_lets_others_in(api: Api) -> None:
    image = await api.store(URL, b"bytes")
    asked = [*operations(), ("GET", "/"), ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/problems/forbidden"), ("GET", "/nothing")]
    asked += [("GET", image), ("GET", f"{image}/content"), ("HEAD", f"{image}/content"), ("OPTIONS", "/images"), ("TRACE", "/images"), ("BREW", "/")]
    for method, path in asked:
        answer = await ask(api, method, path, headers={"origin": "https://evil.example", "access-control-request-method": "POST"})
        assert answer.headers["x-content-type-options"] == "nosniff", (method, path)
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "server" not in answer.headers
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        if answer.status_code >= 400:
            assert answer.headers["cache-control"] == ("no-cache" if path == "/health/ready" else "no-store")
            assert answer.headers["content-type"] == ("application/json" if path == "/health/ready" else "application/problem+json")
        if answer.headers.get("content-type", "").startswith(("application/", "text/html")):
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")


async def test_what_is_sent_comes_back_as_json_only(api: Api) -> None:
    script = "<script>alert(1)</script>"
    for answer in (
        await api.client.get(f"/{script}"),
        await api.client.get(f"/images/{script}"),
        await api.client.get(f"/problems/{script}"),
        await api.client.get("/images", params={script: script}),
        await api.client.get("/images", params={"status": script}),
        await api.client.get("/images", params={"url": script}),
        await api.client.post("/images", json={"url": script, script: 1}),
        await api.client.post("/images", content=script, headers={"content-type": script}),
        await api.client.get("/images", headers={"host": script}),
    ):
        assert answer.status_code >= 400
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")


async def test_a_readiness_that_anybody_may_ask_for_names_no_host_inside(amqp_url: str) -> None:
    async with running_api("mongodb://127.0.0.1:9/none?serverSelectionTimeoutMS=200", amqp_url) as api:
        answer = await api.client.get("/health/ready")
        assert answer.status_code == 503
        assert "127.0.0.1" not in answer.text


class Commands(pymongo.monitoring.CommandListener):
    """What this process has MongoDB do, while it is listened to."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] | None = None

    def started(self, event: pymongo.monitoring.CommandStartedEvent) -> None:
        if self.heard is not None:
            self.heard.append(dict(event.command))

    def succeeded(self, event: pymongo.monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: pymongo.monitoring.CommandFailedEvent) -> None:
        pass


COMMANDS = Commands()
pymongo.monitoring.register(COMMANDS)

HOSTILE = [
    {"$gt": ""}, {"$ne": None}, {"$where": "sleep(9000)"}, ["$url"], [{"$gt": ""}], "$url", "$$ROOT", "$where", "a.$gt", "_id", "'; return true; //",
    '{"$gt": ""}', None, True, 0, -1, 10**18, 1.5, "\0", "a\0b", "{$ne:1}", "status", "x" * 1000, {"a": {"b": {"$expr": 1}}},
]  # fmt: skip


def shape(value: Any, *, names: bool = True) -> str:
    """A command without its values: field names, operators and types. Lists of the same are one."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{shape(inner, names=names)}" for name, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + "|".join(sorted({shape(inner, names=names) for inner in value})) + "]"
    return type(value).__name__


def shapes(commands: list[dict[str, Any]]) -> set[str]:
    overhead = {"lsid", "$clusterTime", "txnNumber", "$db", "cursor", "getMore", "collection", "maxTimeMS"}
    return {shape({name: value for name, value in command.items() if name not in overhead}) for command in commands}


async def test_nothing_that_is_sent_reaches_mongodb_as_an_operator_or_a_field_name(api: Api) -> None:
    """In every place of a request: the commands have the shapes that harmless requests give, and no other."""
    image = await api.store(URL, b"bytes")
    known = image.rpartition("/")[2]
    cursor_page = (await api.client.get("/images", params={"limit": 1})).json()
    assert cursor_page["items"]
    await asyncio.sleep(1)  # what goes on in the background, too

    COMMANDS.heard = []
    await asyncio.sleep(2.5)
    for path in (image, f"{image}/content", f"/images/{UNKNOWN}", f"/dead-letters/{UNKNOWN}", "/images", "/dead-letters", "/health/ready"):
        await api.client.get(path)
    for status in ("queued", "stored"):
        await api.client.get("/images", params={"status": status})
        await api.client.get("/images", params={"status": status, "limit": "1", "cursor": cursor(known)})
    await api.client.get("/images", params={"cursor": cursor(known)})
    await api.client.get("/dead-letters", params={"cursor": cursor(known)})
    await api.client.get("/images", params={"url": URL})
    await api.client.post("/images", json={"url": "https://example.org/other"})
    await api.client.post("/requeue", json={"status": "failed"})
    await asyncio.sleep(2.5)
    harmless, COMMANDS.heard = shapes(COMMANDS.heard), []

    for value in HOSTILE:
        text = value if isinstance(value, str) else json.dumps(value)
        name = text if isinstance(value, str) and len(text) < 50 else "x"
        for path in ("/images", "/dead-letters", "/requeue", f"/images/{known}", "/nothing"):
            for body in (
                {"url": value},
                {"status": value},
                {"status": "failed", "before": value},
                {name: value},
                value,
                {"url": f"https://example.org/{text}"},
            ):
                await api.client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
            for parameter in ("url", "status", "cursor", "limit", "status[$ne]", "status.$ne", "$where", "_id", name):
                await api.client.get(path, params={parameter: text})
            await api.client.get(path, params={"url": f"https://example.org/?{text}"})
        for pattern in ("/images/{}", "/images/{}/content", "/dead-letters/{}"):
            quoted = pattern.format(quote(text[:200], safe=""))
            for method in ("GET", "DELETE", "HEAD"):
                await api.client.request(method, quoted, headers={"if-none-match": "*", "range": "bytes=$gt-"})
        await api.client.post(f"/dead-letters/{quote(text[:200], safe='')}/replay")
    await asyncio.sleep(1.5)
    hostile, COMMANDS.heard = shapes(COMMANDS.heard), None
    assert hostile - harmless == set()
    assert any("$in" in found for found in hostile), "the listener hears nothing"


def cursor(image: str) -> str:
    return cursors.encode(Position(datetime.now(UTC), image))


async def test_a_body_that_never_ends_and_one_that_claims_to_be_large_are_cut_off(api: Api) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 10_000

    for path in ("/images", "/requeue"):
        for length in ({}, {"content-length": str(10**12)}):
            try:
                answer = await api.client.post(path, content=endless(), headers={"content-type": "application/json", **length})
            except httpx.TransportError:  # closed while the client was still sending
                continue
            assert (answer.status_code, answer.json()["type"]) == (413, "/problems/content-too-large")
    assert (await api.client.get(f"/images/{id_of(URL)}")).status_code == 404


@pytest.mark.parametrize("before", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_a_time_that_utc_does_not_have_is_a_bad_body(api: Api, before: str) -> None:
    answer = await api.client.post("/requeue", json={"status": "failed", "before": before})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "#/before")
