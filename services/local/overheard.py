"""What the services' logs say that a person at the terminal should know: warnings and errors. All else stays in the files."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from typing import TYPE_CHECKING

from services.local.terminal import relative, width
from shared.telemetry import shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOOK_SECONDS = 0.5
AGAIN_SECONDS = 60.0
"""How long the same message of the same process isn't said again."""
LOG_BYTES = 10 * 1024**2
"""A log beyond it becomes the former one (`.1`), in place of the one before."""
READ_BYTES = 1024**2
_GRAVE = {"warning", "error", "critical"}
_FIXED = {"at", "level", "from", "event", "traceback"}


class Overheard:
    """Reads on in the logs that it follows, and says what is grave: each message of a process once a minute, with how many there were since."""

    def __init__(self, say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic, log_bytes: int = LOG_BYTES) -> None:
        self._say = say
        self._clock = clock
        self._log_bytes = log_bytes
        self._logs: dict[Path, tuple[str, int]] = {}
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def follow(self, name: str, log: Path) -> None:
        """Say what a process of this name writes there from now on."""
        self._logs[log] = name, log.stat().st_size if log.exists() else 0

    async def run(self) -> None:
        """Look twice a second, for ever."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Say what has come since the last look."""
        for log, (name, at) in self._logs.items():
            lines, after = _read(log, at)
            for line in lines:
                self._hear(name, log, line)
            self._logs[log] = name, self._renewed(log, after)

    def _renewed(self, log: Path, at: int) -> int:
        if at <= self._log_bytes:
            return at
        # Its writer has it open to append, and goes on at the new end; a line that comes between these two steps is lost.
        shutil.copyfile(log, log.with_name(log.name + ".1"))
        log.open("wb").close()
        return 0

    def _hear(self, name: str, log: Path, line: str) -> None:
        try:
            said = json.loads(line)
            level, event = said["level"], str(said["event"])
        except (ValueError, KeyError, TypeError):
            # Not from our logging: a process that couldn't begin. Of a traceback, the last line says what it was.
            if line.strip() and not line.startswith((" ", "Traceback ")):
                self._tell((name, line), f"{name}: {line}", most=None)  # a sentence that says what to do
            return
        if level not in _GRAVE:
            return
        facts = shown({field: value for field, value in said.items() if field not in _FIXED})
        more = f"  (traceback in {relative(log)})" if "traceback" in said else ""
        # A server that is missing, all of them miss: that is said of the first.
        self._tell(
            (str(said.get("server", name)), event), f"{str(said.get('at'))[11:19]} {level:7} {name}: {event}  {facts}".rstrip() + more, most=width()
        )

    def _tell(self, key: tuple[str, str], line: str, *, most: int | None) -> None:
        now = self._clock()
        last, unsaid = self._said.get(key, (float("-inf"), 0))
        if now - last < AGAIN_SECONDS:
            self._said[key] = last, unsaid + 1
            return
        self._said[key] = now, 0
        line = f"{line}  (and {unsaid} more since)" if unsaid else line
        visible = "".join(c if c.isprintable() else "?" for c in line)
        self._say(visible if most is None or len(visible) <= most else visible[: most - 1] + "…")


def _read(log: Path, at: int) -> tuple[list[str], int]:
    """Whole lines from there on, and where they end."""
    try:
        with log.open("rb") as file:
            if log.stat().st_size < at:  # another one, begun since
                at = 0
            file.seek(at)
            content = file.read(READ_BYTES)
    except OSError:
        return [], at
    end = content.rfind(b"\n") + 1 or (len(content) if len(content) == READ_BYTES else 0)
    return content[:end].decode("utf-8", "replace").splitlines(), at + end
