"""Fixtures: a browser for the session, and a page of the gallery for each test, which must have done nothing that it shouldn't by its end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import expect

from services.local.errors import StartError
from tests.api import Api, running_api
from tests.browser import chromium
from tests.browser.chromium import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page

expect.set_options(timeout=15_000)


@pytest.fixture(scope="session")
async def browser(anyio_backend: Any) -> AsyncIterator[Browser]:  # noqa: ARG001  (the loop that it lives in)
    try:
        path = chromium.installed()
    except (StartError, LookupError) as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
    async with chromium.launched(path) as browser:
        yield browser


@pytest.fixture
async def api(mongo_url: str, amqp_url: str) -> AsyncIterator[Api]:
    async with running_api(mongo_url, amqp_url) as api:
        yield api


class Gallery:
    """Pages of a gallery in a browser."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._watches: list[Watch] = []
        self._contexts: list[Any] = []

    async def open(self, api: Api, where: str | None = "", *, width: int = 1280, height: int = 800, **more: Any) -> tuple[Page, Watch]:
        """A page of it, or one that is still empty, and who watches it. `more` is for the browser's context."""
        context = await self._browser.new_context(viewport={"width": width, "height": height}, **more)
        context.set_default_timeout(15_000)
        self._contexts.append(context)
        page = await context.new_page()
        base = str(api.client.base_url)
        watch = Watch(page, base)
        self._watches.append(watch)
        if where is not None:
            await page.goto(f"{base}{where}")
        return page, watch

    async def close(self) -> None:
        """Closes what was opened. Raises AssertionError with what was wrong with any of it."""
        while self._contexts:
            await self._contexts.pop().close()
        assert [fault for watch in self._watches for fault in watch.faults] == []


@pytest.fixture
async def gallery(browser: Browser) -> AsyncIterator[Gallery]:
    gallery = Gallery(browser)
    yield gallery
    await gallery.close()
