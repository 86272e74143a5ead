"""services/api/monitoring/traced.py: requests as spans, and whose traces are continued."""

from __future__ import annotations

from typing import Any, cast

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import StatusCode

from services.api.access.keys import STATE, Key
from services.api.monitoring.traced import traced
from shared.settings import Settings
from tests.recording import Recorded, linked, recording

pytestmark = pytest.mark.anyio

TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
GIVEN = f"00-{TRACE:032x}-{SPAN:016x}-01".encode()
ALONE = Settings()
KEYED = Settings(api_keys=("a" * 16,))
OPEN = Settings(host="0.0.0.0", allow_anonymous=True)
PROXIED = Settings(trusted_proxies=OPEN.fetch_allow or cast("Any", ("127.0.0.0/8",)))
KEY = Key("a", frozenset({"write"}))


async def asked(settings: Settings, *parents: bytes, path: str = "/images", method: str = "POST", key: Key | None = None, status: int = 202) -> None:
    async def app(scope: Any, _: Any, send: Any) -> None:
        scope["path_template"] = "/images/{image}"
        await send({"type": "http.response.start", "status": status, "headers": []})

    async def send(_: object) -> None:
        pass

    headers = [(b"traceparent", parent) for parent in parents] + [(b"tracestate", b"a=b"), (b"baggage", b"a=b")]
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "state": {STATE: key} if key else {}}
    await traced(cast("Any", app), settings)(cast("Any", scope), cast("Any", None), cast("Any", send))


def only(recorded: Recorded) -> Any:
    [name] = recorded.names
    return recorded.one(name)


async def test_a_span_has_the_route_and_what_was_answered() -> None:
    with recording() as recorded:
        await asked(ALONE, path="/images/abc", method="GET", status=404)
        span = only(recorded)
        assert span.name == "GET /images/{image}"
        assert span.attributes == {
            "http.request.method": "GET", "url.path": "/images/abc", "url.scheme": "http", "http.response.status_code": 404,
            "http.route": "/images/{image}",
        }  # fmt: skip
        assert span.status.status_code is StatusCode.UNSET


async def test_a_fault_of_ours_is_an_error() -> None:
    with recording() as recorded:
        await asked(ALONE, status=503)
        assert only(recorded).status.status_code is StatusCode.ERROR


async def test_a_method_that_nobody_knows_names_nothing() -> None:
    with recording() as recorded:
        await asked(ALONE, method="X" * 1000, status=405)
        assert only(recorded).name == "HTTP /images/{image}"
        assert only(recorded).attributes["http.request.method"] == "_OTHER"


@pytest.mark.parametrize(
    ("settings", "key", "continued"),
    [(ALONE, None, True), (KEYED, KEY, True), (KEYED, None, False), (OPEN, None, False), (PROXIED, None, False)],
    ids=["on this machine", "with a key", "without the key", "a stranger", "through a proxy"],
)
async def test_whose_trace_is_continued(settings: Settings, key: Key | None, continued: bool) -> None:  # noqa: FBT001
    with recording() as recorded:
        await asked(settings, GIVEN, key=key)
        span = only(recorded)
        assert (span.context.trace_id == TRACE) is continued
        assert (span.parent.span_id if continued else span.parent) == (SPAN if continued else None)
        assert linked(span) == ([] if continued else [SPAN])
        assert not span.context.trace_state


async def test_strangers_cannot_have_themselves_recorded() -> None:
    with recording(ParentBased(ALWAYS_OFF)) as recorded:
        await asked(OPEN, GIVEN)
        assert recorded.names == []
        await asked(KEYED, GIVEN, key=KEY)
        assert recorded.names == ["POST /images/{image}"]


@pytest.mark.parametrize("parents", [(GIVEN, GIVEN), (b"00-\xff",), (GIVEN + b"-x",), (b"x" * 65_536,)])
async def test_what_is_no_traceparent_is_as_if_it_were_not_there(parents: tuple[bytes, ...]) -> None:
    with recording() as recorded:
        await asked(ALONE, *parents)
        assert (only(recorded).parent, linked(only(recorded))) == (None, [])


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics", "/events"])
async def test_probes_and_streams_are_not_traced(path: str) -> None:
    with recording() as recorded:
        await asked(ALONE, path=path, method="GET")
        assert recorded.names == []


async def test_while_off_the_application_is_itself() -> None:
    app: Any = object()
    assert traced(app, ALONE) is app
