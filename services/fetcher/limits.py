"""How long and how much the fetcher waits for and takes, beside what Settings lets people choose."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Times are in seconds, sizes in bytes."""

    dns: float = 5.0
    connect: float = 10.0
    """For TCP and TLS together, for each address tried."""

    answer: float = 20.0
    """From the start of a hop (name, connection, request) to the end of the answer's header."""

    idle: float = 15.0
    """Without a single byte."""

    redirects: int = 5
    header_line: int = 8190
    header_lines: int = 100
