"""Lines for the person who called `bowerbird up`, who may have closed the terminal meanwhile."""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

STILL_SECONDS = 10.0
NO_TERMINAL = 10_000


def say(line: str) -> None:
    """Write a line to standard output."""
    _write(sys.stdout, line)


def complain(line: str) -> None:
    """Write a line to standard error."""
    _write(sys.stderr, line)


def width() -> int:
    """Columns of the terminal that standard output is; many where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else NO_TERMINAL


def relative(path: Path) -> str:
    """A path as short as it can be typed from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


@asynccontextmanager
async def saying(what: Callable[[], str], *, every: float = STILL_SECONDS, write: Callable[[str], None] = say) -> AsyncIterator[None]:
    """While the block lasts, says now and then what it waits for and how long it has."""

    async def go_on() -> None:
        began = time.monotonic()
        while True:
            await asyncio.sleep(every)
            write(f"Still {what()} ({time.monotonic() - began:.0f} s) ...")

    going = asyncio.create_task(go_on())
    try:
        yield
    finally:
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)


async def hung_up() -> None:
    """Return when the terminal that standard input was at the start has gone.

    SIGHUP tells that only to the terminal's first process. Where that is make, as in `ssh -t host make up`, it waits for us
    without a word.
    """
    if not os.isatty(0):
        await asyncio.Event().wait()
    terminal = select.poll()
    terminal.register(0, 0)  # errors and hang-ups only: reading would stop us in the background
    while not terminal.poll(0):  # noqa: ASYNC110  (a terminal announces its end to nobody)
        await asyncio.sleep(0.5)


def _write(stream: TextIO, line: str) -> None:
    try:
        stream.write(line + "\n")
        stream.flush()
    except (OSError, ValueError):
        # Nobody reads it any more, which must not stop the cleaning up. What is buffered still goes somewhere
        # when Python ends, and would raise again.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
