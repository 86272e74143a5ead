"""The gallery's page and its parts over HTTP: what tests/browser does not see in a browser."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING

import pytest

from tests.api import running_api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.api import Api

pytestmark = pytest.mark.anyio

KEY = "correct-horse-battery"
PARTS = sorted(entry.name for entry in resources.files("services.api").joinpath("static").iterdir())


@pytest.fixture
async def api(mongo_url: str, amqp_url: str) -> AsyncIterator[Api]:
    async with running_api(
        mongo_url, amqp_url, api_keys=(KEY,), management_ui="https://inside.example:15672", grafana_url="https://inside.example/grafana"
    ) as api:
        yield api


async def test_the_page_needs_no_key_and_may_do_nothing_but_what_it_does(api: Api) -> None:
    answer = await api.client.get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(directive.strip().split(" ", 1) for directive in answer.headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self' blob:", "connect-src": "'self'",
        "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'", "require-trusted-types-for": "'script'", "trusted-types": "'none'",
    }  # fmt: skip
    assert "inside.example" not in answer.text
    # Nothing that the policy would forbid: no style or script in the page itself, no handler in an attribute.
    assert not re.search(r"<style|<script(?![^>]* src=)|\son\w+=|\sstyle=|javascript:", answer.text)
    # Nothing from elsewhere, and nothing that a proxy's prefix would break.
    assert all(re.match(r"(static/|docs|#)", target) for target in re.findall(r'(?:src|href)="([^"]*)"', answer.text))


async def test_each_part_is_served_as_what_it_is_and_asked_for_again_only_when_changed(api: Api) -> None:
    for name in PARTS:
        answer = await api.client.get(f"/static/{name}")
        assert answer.status_code == 200, name
        kind = {"js": "text/javascript", "css": "text/css", "html": "text/html", "svg": "image/svg+xml"}[name.rpartition(".")[2]]
        assert answer.headers["content-type"].partition(";")[0] == kind
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", answer.text), name
        head = await api.client.head(f"/static/{name}")
        assert (head.status_code, head.content) == (200, b"")
        assert {**head.headers, "date": ""} == {**answer.headers, "date": ""}
        again = await api.client.get(f"/static/{name}", headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert (await api.client.get(f"/static/{name}", headers={"if-none-match": '"other"'})).status_code == 200


async def test_there_are_no_other_parts(api: Api) -> None:
    for name in ("nothing.js", "..%2fgallery.py", "../gallery.py", "index.html/x", "%2e%2e", ""):
        answer = await api.client.get(f"/static/{name}", headers={"authorization": f"Bearer {KEY}"})
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_every_module_that_is_imported_is_there(api: Api) -> None:
    for name in PARTS:
        text = (await api.client.get(f"/static/{name}")).text
        assert set(re.findall(r'from "\./([^"]+)"', text)) <= set(PARTS)


async def test_where_else_to_look_is_told_to_those_who_have_a_key(api: Api) -> None:
    assert (await api.client.get("/gallery.json")).status_code == 401
    told = (await api.client.get("/gallery.json", headers={"authorization": f"Bearer {KEY}"})).json()
    assert told["management_ui"] == "https://inside.example:15672"
    assert told["grafana_url"] == "https://inside.example/grafana"
    assert told["batch_urls"] == 10_000
