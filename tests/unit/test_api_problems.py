"""Errors become problems by one table, and those that aren't in it become a 500 that gives nothing away."""

from __future__ import annotations

import logging

import msgspec
import pytest
from litestar import Litestar
from litestar.exceptions import HTTPException, InternalServerException
from litestar.testing import RequestFactory

from services.api.http import problems
from shared import errors

REQUEST = RequestFactory(Litestar([])).get("/images/x")


def body_of(error: Exception) -> tuple[int | None, dict[str, object], dict[str, str]]:
    answer = problems.answer(REQUEST, error)
    return answer.status_code, msgspec.json.decode(answer.content), answer.headers


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.UrlRefused("url-scheme", "Only http."), 422, "refused-url"),
        (errors.StoreUnavailable("mongod at 10.0.0.7"), 503, "unavailable"),
        (errors.BrokerUnavailable("rabbit at 10.0.0.8"), 503, "unavailable"),
        (HTTPException(status_code=404), 404, "not-found"),
        (HTTPException(status_code=405), 405, "method-not-allowed"),
        (HTTPException(status_code=413), 413, "content-too-large"),
        (HTTPException(status_code=400, detail="Invalid host header"), 400, "bad-request"),
        (HTTPException(status_code=500, detail="secret"), 500, "internal-error"),
        (errors.Undecodable("secret"), 500, "internal-error"),
        (RuntimeError("secret"), 500, "internal-error"),
    ],
)
def test_each_error_has_its_problem(error: Exception, status: int, kind: str) -> None:
    answered, body, headers = body_of(error)
    assert (answered, body["status"], body["type"]) == (status, status, f"/problems/{kind}")
    assert body["title"]
    assert body["detail"]
    assert "secret" not in str(body)
    assert "10.0.0" not in str(body)
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["Cache-Control"] == "no-store"
    assert ("Retry-After" in headers) == (status == 503)


def test_a_fault_is_logged_under_the_id_that_the_client_gets(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "bowerbird.api"):
        _, body, _ = body_of(RuntimeError("secret"))
    [record] = caplog.records
    assert record.instance == body["instance"]  # type: ignore[attr-defined]
    assert record.exc_info


def test_a_client_that_goes_away_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "bowerbird.api"):
        body_of(InternalServerException("client disconnected prematurely"))
    assert not caplog.records


def test_every_error_of_ours_that_a_request_can_meet_is_in_the_table() -> None:
    for kind in (errors.UrlRefused("r", "d"), errors.StoreUnavailable(), errors.BrokerUnavailable()):
        assert body_of(kind)[0] != 500


def test_names_are_unique_and_statuses_are_errors() -> None:
    assert all(name == kind.name and 400 <= kind.status < 600 and kind.title and kind.meaning for name, kind in problems.KINDS.items())
