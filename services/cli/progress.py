"""Live progress: a bar in a terminal, a plain line now and then elsewhere. On standard error, so that it is in nobody's way."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from services.cli.output import visible
from services.cli.tally import Pace, lasting

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from rich.console import Console

    from services.cli.tally import Tally

LINE_EVERY = 5.0
"""Seconds between two plain lines."""
DRAWN_EVERY = 0.1


class Progress(Protocol):
    """What shows how far something has come, from `with` on until its end."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

    def show(self, tally: Tally, *, more: bool) -> None:
        """It has come so far; `more` if what there is to do isn't all known yet."""


def progress(console: Console, *, clock: Callable[[], float] = time.monotonic) -> Progress:
    """The bar, or the lines."""
    return Bar(console, clock) if console.is_terminal else Lines(console, clock)


class Bar:
    """Two lines that are drawn again and again, and are gone at the end."""

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        # Drawn when there is something new, by nobody else: no thread is left behind by Ctrl-C.
        self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)
        self._clock = clock
        self._pace = Pace()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, tally: Tally, *, more: bool) -> None:
        """Draws it."""
        self._pace.note(self._clock(), tally.done)
        grid = Table.grid(padding=(0, 2))
        grid.add_column(ratio=1)
        for _ in range(3):
            grid.add_column(no_wrap=True)
        grid.expand = True
        bar = ProgressBar(total=max(tally.total, 1), completed=tally.done, pulse=more and not tally.total)
        grid.add_row(bar, *map(Text, (_extent(tally, more=more), f"{self._pace.rate():,.0f} images/s", _left(self._pace, tally))))
        below = Text(visible(tally.sentence()), no_wrap=True, overflow="ellipsis", style="dim")
        self._live.update(Group(grid, below), refresh=True)


class Lines:
    """A line every few seconds, if something has changed."""

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self._console = console
        self._clock = clock
        self._pace = Pace()
        self._next = clock() + LINE_EVERY
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, tally: Tally, *, more: bool) -> None:
        """Writes a line, if it is time for one."""
        now = self._clock()
        self._pace.note(now, tally.done)
        pace = (_extent(tally, more=more), f"{self._pace.rate():,.0f} images/s", _left(self._pace, tally))
        line = f"{', '.join(filter(None, pace))}: {tally.sentence()}"
        if now < self._next or line == self._last:
            return
        self._next, self._last = now + LINE_EVERY, line
        self._console.print(Text(visible(f"{datetime.now():%H:%M:%S}  {line}")), soft_wrap=True)  # noqa: DTZ005  (a person's own clock)


def _extent(tally: Tally, *, more: bool) -> str:
    return f"{tally.done:,} of {tally.total:,}{' so far' if more else ''}"


def _left(pace: Pace, tally: Tally) -> str:
    if tally.left and tally.left == tally.images["delayed"]:
        return "waiting to try again"
    seconds = pace.left(tally.left)
    return "" if not tally.left else "time left unknown" if seconds is None else f"{lasting(seconds)} left"


class Ticker:
    """A sentence that says how far something has come whose end isn't known: drawn again in a terminal, a line every few seconds elsewhere."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)
        self._every = DRAWN_EVERY if console.is_terminal else LINE_EVERY
        self._next = clock() + self._every

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, sentence: str) -> None:
        """Shows it, if it is time to."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + self._every
        if self._console.is_terminal:
            self._live.update(Text(visible(sentence), no_wrap=True, overflow="ellipsis"), refresh=True)
        else:
            self._console.print(Text(visible(f"{datetime.now():%H:%M:%S}  {sentence}")), soft_wrap=True)  # noqa: DTZ005  (as above)
