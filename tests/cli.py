"""The client in tests: over an api whose answers are given, or as a program of its own, in a pipe or in a terminal."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import struct
import sys
import termios
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import httpx

from services.cli.main import main
from services.cli.session import Seams
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\u202ecod.exe\u2028\ud800"

# The first terminal of a session is the one that Ctrl-C comes from.
_TAKE_TERMINAL = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"


def problem(status: int, detail: str, **headers: str) -> httpx.Response:
    """An error of the api's."""
    body = {"type": "/problems/x", "title": "X", "status": status, "detail": detail, "instance": "urn:uuid:7"}
    return httpx.Response(status, content=json.dumps(body), headers={"content-type": "application/problem+json", **headers})


class Answers:
    """An api whose answers are given, one after the other, or by a function of the request; and what it was asked."""

    def __init__(self, *answers: httpx.Response | BaseException, by: Callable[[httpx.Request], httpx.Response] | None = None) -> None:
        self.answers = list(answers)
        self.by = by
        self.asked: list[str] = []
        self.requests: list[httpx.Request] = []
        self.slept: list[float] = []
        self.seams = Seams(httpx.MockTransport(self), sleep=self.slept.append)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answers a request."""
        self.asked.append(f"{request.method} {request.url.raw_path.decode()}")
        self.requests.append(request)
        answer = self.by(request) if self.by else self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def run(self, *arguments: str, **seams: Any) -> int:
        """The exit code of a command that uses it; `seams` replace others."""
        return main(arguments, services={}, seams=replace(self.seams, **seams))


class Done(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str


async def bowerbird(url: object, *arguments: str, given: bytes = b"", **environ: str) -> Done:
    """A command whose input and output are no terminal; `given` is its input."""
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services", *arguments, cwd=ROOT, env=_environ(url, environ),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await run.communicate(given)
    return Done(run.returncode or 0, out.decode(), err.decode())


class Terminal:
    """A terminal with a command in it: what it has shown so far, as it came, with the sequences that move the cursor."""

    def __init__(self, command: tuple[str, ...], environ: dict[str, str], *, columns: int) -> None:
        self._command = command
        self._environ = {**environ, "COLUMNS": str(columns), "TERM": "xterm"}
        self._columns = columns
        self._raw = b""

    async def __aenter__(self) -> Self:
        self._screen, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, self._columns, 0, 0))
        try:
            self._run = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _TAKE_TERMINAL, *self._command, cwd=ROOT, env=self._environ, stdin=terminal, stdout=terminal, stderr=terminal,
                start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(terminal)
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._run.returncode is None:
            self._run.kill()
        await self._run.wait()
        await self._reading
        os.close(self._screen)

    @property
    def shown(self) -> str:
        """All of it so far."""
        return self._raw.decode("utf-8", "replace")

    def types(self, text: str) -> None:
        """What the person types."""
        os.write(self._screen, text.encode())

    async def shows(self, text: str) -> None:
        """Waits until a text has been shown."""

        async def there() -> bool:
            return text in self.shown

        try:
            await until(there)
        except AssertionError:
            raise AssertionError(f"{text!r} isn't in {self.shown[-2000:]!r}") from None

    async def ends(self) -> Done:
        """The command, once it has ended."""
        async with asyncio.timeout(30):
            code = await self._run.wait()
            await self._reading
        return Done(code, self.shown, "")

    async def _read(self) -> None:
        while data := await asyncio.to_thread(_read, self._screen):
            self._raw += data


def _read(screen: int) -> bytes:
    try:
        return os.read(screen, 65536)
    except OSError:  # how Linux says that the other end has gone
        return b""


def terminal(url: object, *arguments: str, columns: int = 130, **environ: str) -> Terminal:
    """A command in a terminal."""
    return Terminal((sys.executable, "-m", "services", *arguments), _environ(url, environ), columns=columns)


async def in_a_terminal(url: object, *arguments: str, types: str = "") -> Done:
    """As `terminal`, to its end."""
    async with terminal(url, *arguments) as screen:
        screen.types(types)
        return await screen.ends()


def _environ(url: object, more: dict[str, str]) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BOWERBIRD_") and name != "FORCE_COLOR"}
    # A file, so that nothing can be kept there: a test that wants to keep something names a folder of its own.
    return {**clean, "BOWERBIRD_URL": str(url), "XDG_STATE_HOME": str(Path(__file__)), **more}
