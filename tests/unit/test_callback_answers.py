"""services/fetcher/callbacks.py: what an answer means, and which requests are not attempted now. No server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from services.fetcher.callbacks import Answer, Callbacks
from services.fetcher.hosts import LONGEST_SECONDS
from shared import events
from shared.errors import PermanentError, Reason, TransientError, Undecodable
from shared.settings import Settings

REQUEST = events.CallbackRequested(image="a", revision=1, delivery="msg_1", url="http://127.0.0.1:1/", payload="{}")


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_a_status_from_200_to_299_is_a_success(status: int) -> None:
    assert Answer(status, 5.0).failure is None


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (410, PermanentError, Reason.HTTP_STATUS),
        (400, TransientError, Reason.HTTP_STATUS), (401, TransientError, Reason.HTTP_STATUS), (404, TransientError, Reason.HTTP_STATUS),
        (429, TransientError, Reason.HTTP_STATUS), (500, TransientError, Reason.HTTP_STATUS), (503, TransientError, Reason.HTTP_STATUS),
        (301, TransientError, Reason.REDIRECT), (308, TransientError, Reason.REDIRECT), (304, TransientError, Reason.REDIRECT),
        (199, TransientError, Reason.HTTP_STATUS), (999, TransientError, Reason.HTTP_STATUS),
    ],
)  # fmt: skip
def test_any_other_may_pass_but_gone(status: int, kind: type[Exception], reason: Reason) -> None:
    failure = Answer(status, 5.0).failure
    assert type(failure) is kind
    assert failure.reason == reason
    assert getattr(failure, "retry_after", None) == (5.0 if kind is TransientError else None)


@pytest.mark.anyio
@pytest.mark.parametrize(("seconds", "most"), [(60, 60), (10**6, LONGEST_SECONDS)])
async def test_one_that_is_early_goes_back_to_a_delay_queue_as_it_is(seconds: int, most: float) -> None:
    early = msgspec.structs.replace(REQUEST, not_before=datetime.now(UTC) + timedelta(seconds=seconds))
    [publication] = await Callbacks(Settings()).on_callback_requested(early)
    assert publication.event == early
    assert publication.delay
    assert publication.delay <= most


@pytest.mark.parametrize("delivery", ["", "msg_", "msg_1.2", "msg_1\n", "msg_1\r\nx: y", "x", "msg_" + "a" * 65])
def test_what_can_be_no_header_is_no_event(delivery: str) -> None:
    envelope = events.encode(msgspec.structs.replace(REQUEST, delivery=delivery))
    with pytest.raises(Undecodable, match="delivery"):
        events.decode(envelope)
