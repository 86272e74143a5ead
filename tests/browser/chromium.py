"""Chromium, driven by Playwright: the system's, and what it did that a page of ours must not do."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from playwright.async_api import async_playwright

from services.local import apt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page

_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_STATUS = re.compile(r"Failed to load resource: the server responded with a status of (\d+)")


def installed() -> str:
    """The browser's path; Debian's package is installed if it may be. Raises StartError, or LookupError that says what to do."""
    if (found := _found()) is None and apt.available():
        # One of the suite's processes installs it; the others wait for that.
        with (Path(tempfile.gettempdir()) / "bowerbird-tests-chromium.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _found() is None:
                apt.install("chromium")
        found = _found()
    if found is None:
        raise LookupError("There is no Chromium here: install Debian's package chromium, or Google Chrome.")
    return found


def _found() -> str | None:
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


@asynccontextmanager
async def launched(path: str) -> AsyncIterator[Browser]:
    """A headless browser."""
    # Its sandbox needs another user than root; the pages that it is shown are ours.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=[*sandbox, "--disable-gpu", "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            await browser.close()


class Watch:
    """What a page says and asks for while it is used: each thing that it shouldn't is a line in `faults`.

    Chromium itself notes answers that say no, and connections that break: those whose status is in `expected`, or all where one `breaks`, are none.
    """

    def __init__(self, page: Page, base: str) -> None:
        self.faults: list[str] = []
        self.expected: set[int] = set()
        self.breaks = False
        self._host = urlsplit(base).hostname
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("request", self._asked)

    def _said(self, message: Any) -> None:
        status = _STATUS.match(message.text)
        where = message.location.get("url", "")
        if status and int(status[1]) in self.expected:
            return
        if self.breaks and message.text.startswith("Failed to load resource: net::"):
            return
        if message.type in {"error", "warning"}:
            self.faults.append(f"{message.type}: {message.text} ({where})")

    def _asked(self, request: Any) -> None:
        url = urlsplit(request.url)
        if url.scheme not in {"blob", "data"} and url.hostname != self._host:
            self.faults.append(f"asked another host: {request.url}")
