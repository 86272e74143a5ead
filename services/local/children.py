"""Child processes that never outlive us, and a supervisor that starts them again when they die."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from services.local.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

LIFELINE = Path(__file__).with_name("lifeline.py")
LOG_BYTES = 10 * 1024**2
LONG_LIFE = 60.0
LONGEST_DELAY = 30.0


class Child:
    """One process, in a session of its own: a terminal's Ctrl-C doesn't reach it, and a signal to its group reaches all of it.

    It is killed when the *thread* that started it ends (that is how Linux sees it), so start it from one that stays.
    No event loop is kept: start, wait and stop may each be called from another.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        environ: Mapping[str, str],
        log: Path | None = None,
        grace: float = 20.0,
        fatal: int | None = None,
    ) -> None:
        """`log` gets its output (None: our stderr); `grace` is the seconds between SIGTERM and SIGKILL.

        `fatal` is the exit code after which another start would end the same way.
        """
        self.name = name
        self.fatal = fatal
        self.command = tuple(map(str, command))
        self.environ = environ
        self.log = log
        self.grace = grace
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, which is the group's too; None before the first start."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether it was started and hasn't ended."""
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        """Start it if it isn't running. Raises OSError if its log can't be written."""
        if self.running:
            return
        command = [sys.executable, "-I", "-S", str(LIFELINE), str(os.getpid()), *self.command]
        with contextlib.ExitStack() as opened:
            output = opened.enter_context(_appending(self.log)) if self.log else sys.stderr
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603  (our own command; forking takes a millisecond)
                command, env=self.environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    async def wait(self, *, every: float = 0.2) -> int:
        """The exit code, once it has ended, looked for `every` so many seconds; negative for a signal."""
        if self._process is None:
            return 0
        while self._process.poll() is None:  # noqa: ASYNC110  (no loop is kept that an event could belong to)
            await asyncio.sleep(every)
        return self._process.returncode

    async def stop(self) -> None:
        """Ask it to end, and kill what is left of its group after the grace period."""
        if self._process is None:
            return
        if self.running:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.wait(every=0.02), self.grace)
        self.kill()

    def kill(self) -> None:
        """End all of its group at once."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
                os.killpg(self._process.pid, number)


class Member(Protocol):
    """What a supervisor looks after: a Child, or a server made of some."""

    @property
    def name(self) -> str:
        """How messages call it."""
        ...

    @property
    def fatal(self) -> int | None:
        """The exit code after which it isn't started again, but everything ends."""
        ...

    async def start(self) -> None:
        """Start what of it isn't running; return when it can be used. Raises StartError."""
        ...

    async def wait(self) -> int:
        """The exit code, once it has ended."""
        ...

    async def stop(self) -> None:
        """End it in order."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


class Supervisor:
    """Starts members stage by stage, starts again what dies, and stops the stages in reverse."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """`say` gets a line for each death."""
        self._say = say
        self._stages: list[tuple[Member, ...]] = []

    async def start(self, *members: Member) -> None:
        """Start a stage, all of it at once. Raises StartError."""
        self._stages.append(members)
        await _all(member.start() for member in members)

    async def watch(self) -> None:
        """Start again whatever dies, for ever. Raises StartError when a member dies of its `fatal` code."""
        await _all(self._keep(member) for stage in self._stages for member in stage)

    async def stop(self) -> None:
        """Stop the last stage first; a stage's members at once."""
        for stage in reversed(self._stages):
            await _all(member.stop() for member in stage)

    def kill(self) -> None:
        """End everything at once."""
        for stage in reversed(self._stages):
            for member in stage:
                member.kill()

    async def _keep(self, member: Member) -> None:
        deaths = 0
        while True:
            started = time.monotonic()
            code = await member.wait()
            if code == member.fatal:
                raise StartError(f"{member.name} refused to start; why is said above.")
            deaths = deaths + 1 if time.monotonic() - started < LONG_LIFE else 1
            delay = restart_delay(deaths)
            self._say(f"{member.name} died ({describe(code)}); starting it again in {delay:g} s.")
            await asyncio.sleep(delay)
            try:
                await member.start()
            except StartError as error:
                self._say(str(error))
            else:
                self._say(f"{member.name} runs again.")


def restart_delay(deaths: int) -> float:
    """Seconds to wait before a start, after so many deaths in a row that each came soon."""
    return float(min(LONGEST_DELAY, 0.5 * 2 ** min(deaths - 1, 16)))


def describe(code: int) -> str:
    """An exit code for people."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


async def _all(work: Iterable[Coroutine[None, None, None]]) -> None:
    """Like gather, but the first error ends the others before it is raised."""
    tasks = [asyncio.ensure_future(part) for part in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _appending(log: Path) -> BinaryIO:
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_name(log.name + ".1"))
    return log.open("ab")
