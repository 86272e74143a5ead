"""The end of a server's log, for the message that it didn't start."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def tail(log: Path, lines: int = 15) -> str:
    """Where the log is, and its last lines, shortened to what a terminal shows."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            last = file.read().decode("utf-8", "replace").splitlines()[-lines:]
    except OSError:
        last = []
    return "\n".join([f"The end of {log}:", *(f"  {line[:300]}" for line in last)])
