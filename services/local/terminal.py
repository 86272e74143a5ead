"""Lines for the person who called `bowerbird up`, who may have closed the terminal meanwhile."""

from __future__ import annotations

import asyncio
import os
import select
import sys
from typing import TextIO


def say(line: str) -> None:
    """Write a line to standard output."""
    _write(sys.stdout, line)


def complain(line: str) -> None:
    """Write a line to standard error."""
    _write(sys.stderr, line)


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
