"""shared/events.py on the wire: golden messages that other services, in other languages, rely on.

A golden message is never edited. A new field gets a default and a new golden beside the old one, which must still be read.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shared import events
from shared.errors import Reason, Undecodable

GOLDEN = Path(__file__).parent / "golden"
AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
IMAGE = "finuajba55dfo5drzxdubgypul"
URL = "http://example.com/a.png"

PAGE = "http://example.com/"
FILE = "0123456789abcdef01234567"
_REQUESTED = events.DownloadRequested(image=IMAGE, revision=1, attempt=2, url=URL, requested_at=AT, snoozes=1)
_FETCHED = events.ImageFetched(
    image=IMAGE, revision=1, url=URL, final_url=URL, fetched_at=AT, took_ms=250, format="PNG", content_type="image/png",
    width=3, height=2, sha256="ab" * 32, etag='"x"', last_modified=None, body=b"\x89PNG\r\n\x1a\n",
)  # fmt: skip
_SCANNED = events.PageScanned(image=IMAGE, revision=1, url=URL, scanned_at=AT, images=[URL])
_TOLD = events.CallbackRequested(image=IMAGE, revision=1, delivery="msg_1", url="https://example.com/told", payload='{"type":"image.stored"}')
_ATTEMPTED = events.CallbackAttempted(
    image=IMAGE, revision=1, delivery="msg_1", attempted_at=AT, took_ms=250, http_status=503, reason=Reason.HTTP_STATUS, detail="503",
    next_attempt_at=AT,
)  # fmt: skip

_STORED = events.ImageStored(
    image=IMAGE, revision=1, url=URL, stored_at=AT, format="PNG", content_type="image/png", width=3, height=2, size=8, sha256="ab" * 32
)
_FAILED = events.ImageFailed(image=IMAGE, revision=1, reason=Reason.DNS, detail="no such host", failed_at=AT)
BATCH = "0123456789abcdef0123456789abcdef"

EVENTS: list[events.Event] = [
    replace(_REQUESTED, etag='"x"', last_modified="Fri, 02 Jan 2026 03:04:05 GMT"),
    events.ImagePart(image=IMAGE, revision=1, file=FILE, number=2, body=b"\0\xff"),
    replace(_FETCHED, file=FILE, parts=3, size=2**21 + 2, waits=4, body=b""),
    events.ImageUnchanged(image=IMAGE, revision=2, checked_at=AT, took_ms=250, etag='"x"'),
    replace(
        _SCANNED, alternatives={URL: ["http://example.com/a-small.png"]}, skipped=1, refused=2, beyond=3, final_url=PAGE, took_ms=250, etag='"x"'
    ),
    events.DownloadDelayed(
        image=IMAGE, revision=1, reason=Reason.HTTP_STATUS, detail="503", failed_at=AT, took_ms=250, next_attempt_at=AT
    ),
    events.DownloadFailed(image=IMAGE, revision=3, attempt=6, reason=Reason.DNS, detail="no such host", failed_at=AT, took_ms=250),
    replace(_STORED, owners=[BATCH]),
    replace(_FAILED, url=URL, owners=[BATCH]),
    events.ImageDelayed(
        image=IMAGE, revision=1, url=URL, reason=Reason.HTTP_STATUS, detail="503", failed_at=AT, next_attempt_at=AT, owners=[BATCH]
    ),
    events.PageExpanded(image=IMAGE, revision=1, url=PAGE, expanded_at=AT, owners=[BATCH]),
    replace(_TOLD, replay=2, not_before=AT),
    replace(_ATTEMPTED, replay=2),
]  # fmt: skip

EARLIER: dict[str, events.Event] = {
    "callback-attempted.v1.json": _ATTEMPTED,
    "callback-requested.v1.json": _TOLD,
    "download-requested.v1.json": _REQUESTED,
    "image-failed.v1.json": _FAILED,
    "image-fetched.v1.json": _FETCHED,
    "image-stored.v1.json": _STORED,
    "page-scanned.v1.json": _SCANNED,
}
"""What the golden messages of before a field was added say."""


def golden(event: events.Event) -> Path:
    """The newest: v1.1 has a field more than v1."""
    return max(GOLDEN.glob(f"{event.NAME}.v{event.VERSION}*.json"), key=lambda path: (len(path.name), path.name))


def message(event: events.Event) -> dict[str, object]:
    """An event as JSON that a person can read: the body of image-fetched as text, the others' as it is."""
    envelope = events.encode(event)
    return {**envelope._asdict(), "body": envelope.body.decode("latin-1")}


def test_every_kind_of_event_has_a_golden_message() -> None:
    assert {type(event) for event in EVENTS} == set(events.KINDS)
    assert {path.name for path in GOLDEN.iterdir()} == {golden(event).name for event in EVENTS} | set(EARLIER)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.NAME)
def test_an_event_is_written_as_its_golden_message(event: events.Event) -> None:
    assert message(event) == json.loads(golden(event).read_text())


@pytest.mark.parametrize(("name", "event"), [*EARLIER.items(), *((golden(event).name, event) for event in EVENTS)])
def test_a_golden_message_is_read_even_with_fields_of_the_future(name: str, event: events.Event) -> None:
    found = json.loads((GOLDEN / name).read_text())
    body = found["body"].encode("latin-1")
    headers = {**found["headers"], "colour": "red", "x-death": [{"count": 1}]}
    if found["content_type"] == events.JSON:
        body = json.dumps({**json.loads(body), "colour": "red"}).encode()
    assert events.decode(events.Envelope(**{**found, "body": body, "headers": headers})) == event


ENVELOPE = events.encode(EVENTS[0])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"type": "picture-wanted"}, "not one of"),
        ({"type": None}, "not one of"),
        ({"headers": {"v": 99}}, "not one of"),
        ({"headers": {}}, "not one of"),
        ({"headers": {"v": {"$gt": 0}}}, "not one of"),
        ({"headers": {"v": "1"}}, "not one of"),
        ({"body": b""}, "download-requested v1"),
        ({"body": b"hello"}, "download-requested v1"),
        ({"body": b"\xff\xfe"}, "download-requested v1"),
        ({"body": b"[]"}, "Expected `object`, got `array`"),
        ({"body": b"{}"}, "missing required field"),
        ({"body": ENVELOPE.body.replace(b'"http://', b'{"$gt":1},"x":"')}, "Expected `str`, got `object`"),
        ({"type": "image-fetched"}, "missing required field"),
    ],
)
def test_what_is_no_event_says_why(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(Undecodable, match=problem):
        events.decode(ENVELOPE._replace(**change))


@given(body=st.binary(max_size=100), text=st.text(max_size=50), number=st.integers(0, 2**31))
def test_image_bytes_and_fields_come_back_as_they_were(body: bytes, text: str, number: int) -> None:
    sent = events.ImageFetched(
        image=IMAGE, revision=number, url=URL, final_url=URL, fetched_at=AT, took_ms=number, format="PNG", content_type="image/png",
        width=number, height=1, sha256="", etag=text, body=body,
    )  # fmt: skip
    assert events.decode(events.encode(sent)) == sent


def test_a_repetition_has_the_same_id_and_another_attempt_has_not() -> None:
    first = events.encode(EVENTS[0])
    assert first.message_id == f"download-requested.{IMAGE}.1.2"
    assert first.correlation_id == f"{IMAGE}.1"
    assert events.encode(EVENTS[0]).message_id == first.message_id
